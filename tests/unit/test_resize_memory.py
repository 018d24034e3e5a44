"""What resize holds in memory at once: near the largest tensor, never the model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from toys import Toy

from zhllm.model.llama import EMBED, HEAD
from zhllm.model.tensors import Spec, Writer
from zhllm.vocab.sentencepiece_model import load

PEAK = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]).parents[1]))
from toys import stage
import zhllm.model.directory, zhllm.model.embeddings, zhllm.vocab.subtokens, zhllm.vocab.tokenizer

def kib(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

model, tokenizer, out = map(Path, sys.argv[2:5])
zhllm.vocab.tokenizer.Tokenizer(tokenizer)
start = kib("VmRSS")
stage("resize", out, model=model, tokenizer=tokenizer, init=sys.argv[5])
assert "torch" not in sys.modules
print(kib("VmHWM") - start)
"""


@pytest.mark.slow
@pytest.mark.parametrize("init", ["subtoken-mean", "normal"])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_memory_stays_near_the_largest_tensor(toy: Toy, tmp_path: Path, init: str) -> None:
    """600 MB in shards, no tensor above 60 MB: at most three times that above what the imports take."""
    base, rows, hidden = tmp_path / "base", len(load(toy.tokenizer).pieces), 1 << 16
    base.mkdir()
    shapes = {EMBED: (rows, hidden), HEAD: (rows, hidden)}
    shapes |= {f"model.layers.{i}.mlp.up_proj.weight": (450, hidden) for i in range(8)}
    plan = [Spec(name, "BF16", shape) for name, shape in shapes.items()]
    values = np.random.default_rng(0).integers(0x3C00, 0x3F80, 1 << 20, np.uint16)  # bf16 from 2^-7 to 1
    with Writer(base, plan, max_shard_bytes=150 << 20) as writer:
        for spec in plan:
            writer.write(spec.name, np.resize(values, spec.shape))
    (base / "config.json").write_text(json.dumps({"hidden_size": hidden, "vocab_size": rows}))
    largest, total = max(s.size_bytes for s in plan), sum(s.size_bytes for s in plan)
    assert largest < 60e6 and total > 550e6 and len(list(base.glob("model-*"))) == 5
    words = [sys.executable, "-c", PEAK, __file__, str(base), str(toy.extended), str(tmp_path / "out"), init]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert 0.5 * largest < int(done.stdout) * 1024 <= 3 * largest
