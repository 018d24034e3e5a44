"""GGUF export against llama.cpp's own converter: CPU seconds, wall seconds and anonymous memory.

    python tests/bench/export.py [--converter PATH/convert_hf_to_gguf.py] [--size 7b] [--times 2] [-o /big/disk]

Makes the random bfloat16 Llama of merge.py with the real Llama-2 tokenizer (2.2 GB for 1b, 13.5 GB for 7b) and deletes
it at the end; --model takes one that stands already. One output stands at a time. The converter is not on PyPI by
itself; the source package of llama-cpp-python holds it (vendor/llama.cpp). It proves nothing, so it is compared with
zhllm's writing alone; what the proof costs stands beside it (--no-proof leaves it out). Tensors are compared too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from merge import SIZES, make_base, measured

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


def best_of(words: list[str], name: str, times: int) -> dict[str, float]:
    """The least CPU and wall seconds of several runs, and the largest anonymous memory."""
    runs = [measured(words, name) for _ in range(times)]
    cpu, wall = (min(run[key] for run in runs) for key in ("cpu_s", "wall_s"))
    peak = max(run["peak_anon_mb"] for run in runs) / 1000
    return {"cpu_s": round(cpu, 1), "wall_s": round(wall, 1), "anonymous_gb": round(peak, 2)}


def digests(path: Path) -> dict[str, tuple[str, str]]:
    """Type and SHA-256 of every tensor of a GGUF file, which is deleted."""
    from zhllm.model.gguf_read import GgufFile

    found = {name: (t.type.name, hashlib.sha256(t.data).hexdigest()) for name, t in GgufFile(path).tensors.items()}
    path.unlink()
    return found


def compared(model: Path, kind: str, args: argparse.Namespace, work: Path) -> dict[str, object]:
    """One type: the converter, zhllm's writing, and the whole command."""
    row: dict[str, object] = {"type": kind}
    path = work / f"model-{kind}.gguf"
    if args.converter:
        words = [sys.executable, str(args.converter), str(model), "--outtype", kind, "--outfile", str(path)]
        row["converter"] = wanted = best_of(words, "converter", args.times)
        theirs = digests(path)
    words = [sys.executable, "-c", WRITE, str(model), str(path), kind, str(args.workers)]
    row["zhllm, writing"] = found = best_of(words, "zhllm, writing", args.times)
    if args.converter:
        ours = digests(path)
        row["cpu ratio"] = round(wanted["cpu_s"] / found["cpu_s"], 2)
        row["tensors that differ"] = sum(ours.get(n) != theirs.get(n) for n in ours.keys() | theirs.keys())
    path.unlink(missing_ok=True)
    if not args.no_proof:
        out = work / f"export-{kind}"
        words = [sys.executable, "-m", "zhllm", "export", "--model", str(model), "--type", kind,
                 "--workers", str(args.workers), "-o", str(out)]  # fmt: skip
        row["zhllm export, with proof"] = best_of(words, "zhllm export", 1)
        shutil.rmtree(out)
    return row


def main() -> None:
    """Make the model, measure each type, delete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--converter", type=Path, help="llama.cpp's convert_hf_to_gguf.py")
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--types", nargs="+", default=["q8_0", "bf16"])
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--no-proof", action="store_true")
    parser.add_argument("-o", "--out", type=Path, help="where there is room (the system's temporary folder)")
    args = parser.parse_args()
    data = Path(os.environ.get("ZHLLM_TEST_DATA", ROOT.parent / "shared" / "data"))
    with tempfile.TemporaryDirectory(dir=args.out) as name:
        work = Path(name)
        if args.model is None:
            make_base(work / "base", SIZES[args.size], data / "tokenizers" / "llama2.model")
        for kind in args.types:
            print(json.dumps(compared(args.model or work / "base", kind, args, work)), flush=True)


if __name__ == "__main__":
    main()
