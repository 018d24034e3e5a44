"""What resize holds in memory at once: near the largest tensor, never the model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from toys import Toy

from zhllm.model.llama import EMBED, HEAD
from zhllm.model.tensors import Checkpoint, Spec, Writer
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


@pytest.fixture
def large_base(toy: Toy, tmp_path: Path) -> Iterator[Path]:
    """590 MB in five shards, no tensor above 59 MB; deleted with what is made beside it."""
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
    yield base
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("init", ["subtoken-mean", "normal"])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_memory_stays_near_the_largest_tensor(toy: Toy, large_base: Path, init: str) -> None:
    """At most three times the largest tensor above what the imports take."""
    sizes = [spec.size_bytes for spec in Checkpoint(large_base).specs.values()]
    assert max(sizes) < 59e6 and sum(sizes) > 550e6 and len(list(large_base.glob("model-*"))) == 5
    words = [
        sys.executable,
        "-c",
        PEAK,
        __file__,
        str(large_base),
        str(toy.extended),
        str(large_base.parent / "out"),
        init,
    ]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert 0.5 * max(sizes) < int(done.stdout) * 1024 <= 3 * max(sizes)
