"""GGUF export against llama.cpp's own converter: CPU seconds, wall seconds and anonymous memory, process by process.

    python tests/bench/export.py [--converter PATH/convert_hf_to_gguf.py] [--model DIR] [--times 2]

Without --model a random TinyLlama (1.1 B, bfloat16, 2.2 GB) with the real Llama-2 tokenizer is made. The converter
is not on PyPI by itself; the source package of llama-cpp-python holds it (vendor/llama.cpp). It proves nothing, so
it is compared with zhllm's writing alone; what the proof costs stands beside it. Tensors are compared too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

ROOT = Path(__file__).resolve().parent.parent.parent

WRITE = """
import sys
from pathlib import Path
from zhllm.model.gguf_file import open_source
from zhllm.model.gguf_stream import Encoder, write_gguf
from zhllm.vocab.tokenizer import Tokenizer
model, path, kind, workers = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
write_gguf(open_source(model), path, kind, None, Tokenizer(model).eos_id, encoder=Encoder("own", workers))
"""


def random_tinyllama(out: Path, data: Path) -> Path:
    """A random 1.1 B Llama in bfloat16 with the Llama-2 tokenizer."""
    import numpy as np
    from sentencepiece import sentencepiece_model_pb2

    from zhllm.model.llama import SIZES, config_of, tensor_plan
    from zhllm.model.tensors import Writer, from_f32
    from zhllm.vocab.hf_files import write_tokenizer

    out.mkdir(parents=True)
    plan, rng = tensor_plan(SIZES["1b"], 32000, "BF16"), np.random.default_rng(0)
    with Writer(out, plan) as writer:
        for spec in plan:
            fresh = rng.standard_normal(spec.shape, dtype=np.float32) * np.float32(spec.shape[-1] ** -0.5)
            writer.write(spec.name, from_f32(fresh if len(spec.shape) > 1 else np.ones_like(fresh), "BF16"))
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString((data / "tokenizers" / "llama2.model").read_bytes())
    write_tokenizer(out, proto)
    config = config_of(SIZES["1b"], 32000, {"bos": 1, "eos": 2}) | {"dtype": "bfloat16", "torch_dtype": "bfloat16"}
    (out / "config.json").write_text(json.dumps(config))
    return out


def anonymous(pid: int) -> int:
    """Bytes of anonymous memory that a process holds now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def measured(command: list[str], times: int) -> dict[str, float]:
    """The least CPU and wall seconds of several runs, and the largest anonymous memory."""
    cpu, wall, peak = float("inf"), float("inf"), 0
    for _ in range(times):
        before, start = os.times(), time.perf_counter()
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
            while child.poll() is None:
                peak = max(peak, anonymous(child.pid))
                time.sleep(0.02)
            log.seek(0)
            if child.returncode:
                raise SystemExit(f"{command}: {log.read()[-2000:].decode()}")
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        cpu, wall = min(cpu, used), min(wall, time.perf_counter() - start)
    return {"cpu_s": round(cpu, 1), "wall_s": round(wall, 1), "anonymous_gb": round(peak / 1e9, 2)}


def differing(one: Path, other: Path) -> int:
    """Tensors whose type or bytes differ."""
    import numpy as np

    from zhllm.model.gguf_read import GgufFile

    a, b = GgufFile(one).tensors, GgufFile(other).tensors
    same = [n for n in a.keys() & b.keys() if a[n].type == b[n].type and np.array_equal(a[n].data, b[n].data)]
    return len(a.keys() | b.keys()) - len(same)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--converter", type=Path, help="llama.cpp's convert_hf_to_gguf.py")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--types", nargs="+", default=["q8_0", "bf16"])
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    data = Path(os.environ.get("ZHLLM_TEST_DATA", ROOT.parent / "shared" / "data"))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        model = args.model or random_tinyllama(work / "model", data)
        for kind in args.types:
            ours, theirs = work / f"ours-{kind}.gguf", work / f"theirs-{kind}.gguf"
            row: dict[str, object] = {"type": kind}
            write = [sys.executable, "-c", WRITE, str(model), str(ours), kind, str(args.workers)]
            row["zhllm, writing"] = found = measured(write, args.times)
            if args.converter:
                convert = [sys.executable, str(args.converter), str(model), "--outtype", kind, "--outfile", str(theirs)]
                row["converter"] = wanted = measured(convert, args.times)
                row["cpu ratio"] = round(wanted["cpu_s"] / found["cpu_s"], 2)
                row["tensors that differ"] = differing(ours, theirs)
                theirs.unlink()
            export = [sys.executable, "-m", "zhllm", "export", "--model", str(model), "--type", kind,
                      "--workers", str(args.workers), "-o", str(work / f"export-{kind}")]  # fmt: skip
            row["zhllm export, with proof"] = measured(export, 1)
            print(json.dumps(row))


if __name__ == "__main__":
    main()
