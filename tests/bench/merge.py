"""Merging a large model: memory, CPU seconds and wall time beside a plain copy and beside peft.

    python tests/bench/merge.py --size 7b -o /big/disk/bench            # ours against a copy of the same bytes
    python tests/bench/merge.py --size 1b -o /big/disk/bench --peft     # also peft's merge_and_unload, same run

Makes a random Llama in bf16 (13.5 GB for 7b) and two adapters (LoRA of rank 64 and rsLoRA of rank 16, all linear
layers, float32), and deletes all of it at the end. Each way runs in a process of its own; anonymous memory is
RssAnon of that process and its children, read every 20 ms; CPU seconds are user and system time, threads and all.
The copy is read and write in blocks of 16 MB of the base's files. The whole command is more than a copy and more than
peft: it checks its inputs, writes the weights, reads them back for the manifest's SHA-256, and proves them by a forward
pass of base + adapters and one of what it wrote. peft loads the model, merges, and saves: no digest, no proof; its like
is "our weights, no proof". All but peft end with fsync of what they wrote, and all start Python and their imports
within the time. The base has a manifest, as one that `zhllm resize` wrote has: its digest is known before the clock
starts, and ours checks it; the adapters have none and are hashed. Of several rounds the least time of each way counts,
and the highest memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from zhllm import manifest
from zhllm.model.llama import LINEARS, Size, config_of, parameter_count, tensor_plan
from zhllm.model.tensors import Spec, Writer, row_blocks

ROOT = Path(__file__).parents[2]
SIZES = {"7b": Size(4096, 11008, 32, 32, 32, 4096), "3b": Size(3200, 8640, 26, 32, 32, 2048),
         "1b": Size(2048, 5632, 22, 32, 4, 2048)}  # fmt: skip
COPY = (
    "import os, sys\n"
    "for a, b in zip(sys.argv[1::2], sys.argv[2::2]):\n"
    "    with open(a, 'rb', buffering=0) as source, open(b, 'wb', buffering=0) as target:\n"
    "        while block := source.read(16 << 20):\n"
    "            target.write(block)\n"
    "        os.fsync(target.fileno())\n"
)
WEIGHTS = (
    "import os, sys\n"
    "from pathlib import Path\n"
    "from zhllm.model.lora import Adapter\n"
    "from zhllm.model.merge_blocks import write_merged\n"
    "from zhllm.model.merging import plan_merge\n"
    "from zhllm.model.shards import Shards\n"
    "from zhllm.model.tensors import Checkpoint\n"
    "base, out, *adapters = map(Path, sys.argv[1:])\n"
    "plan = plan_merge(Checkpoint(base), [Adapter(path) for path in adapters])\n"
    "out.mkdir()\n"
    "with Shards(out, [target.spec for target in plan.targets], 5 * 10**9) as shards:\n"
    "    write_merged(Checkpoint(base), plan.targets, shards, len(os.sched_getaffinity(0)))\n"
    "for path in out.iterdir():\n"
    "    file = os.open(path, os.O_RDONLY)\n"
    "    os.fsync(file)\n"
)
PEFT = (
    "import sys, torch\n"
    "from peft import PeftModel\n"
    "from transformers import AutoModelForCausalLM\n"
    "model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype='auto', local_files_only=True)\n"
    "for path in sys.argv[3:]:\n"
    "    model = PeftModel.from_pretrained(model, path).merge_and_unload()\n"
    "model.save_pretrained(sys.argv[2], max_shard_size='5GB')\n"
)


# Drawn once: every block of a matrix is some other part of it.
POOL = np.random.default_rng(0).integers(0, 1 << 16, 1 << 24, dtype=np.uint16)


def random_bf16(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Bit patterns of values of both signs between 2^-9 and 2^-5: spread as trained weights are."""
    count = shape[0] * shape[1]
    start = int(rng.integers(0, len(POOL) - count))
    bits = POOL[start : start + count].reshape(shape)
    return (bits & 0x807F) | (((bits >> 7 & 3) + 118) << 7).astype(np.uint16)


def make_base(folder: Path, size: Size, tokenizer: Path) -> None:
    """A model directory of random bf16 weights, in shards of 5 GB, written block by block."""
    from zhllm.model.directory import write_model_config
    from zhllm.model.tokenizer_files import complete_tokenizer
    from zhllm.vocab.tokenizer import Tokenizer

    folder.mkdir(parents=True)
    complete_tokenizer(tokenizer, folder)
    ids = Tokenizer(folder)
    plan = tensor_plan(size, ids.vocab_size, "BF16")
    rng = np.random.default_rng(0)
    with Writer(folder, plan, 5 * 10**9) as writer:
        for spec in plan:
            if len(spec.shape) == 1:
                writer.write(spec.name, np.full(spec.shape, 0x3F80, np.uint16))
                continue
            heights = [s.stop - s.start for s in row_blocks(spec.shape[0], 2 * spec.shape[1], 16 << 20)]
            writer.write(spec.name, (random_bf16(rng, (n, spec.shape[1])) for n in heights))
    config = config_of(size, ids.vocab_size, {}) | {"dtype": "bfloat16", "torch_dtype": "bfloat16"}
    write_model_config(folder, config, ids, ids.vocab_size)
    written = folder.rename(folder.with_name("base.partial"))
    manifest.finish(written, folder, {"stage": "bench", "config": {}, "inputs": {}}, {}, {})
    print(f"{parameter_count(plan) / 1e9:.2f} G parameters, {folder_bytes(folder) / 1e9:.2f} GB", flush=True)


def make_adapter(folder: Path, size: Size, rank: int, rslora: bool, seed: int) -> None:
    """A LoRA adapter of all linear layers, float32, as peft writes it."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank if not rslora else rank, "use_rslora": rslora,
              "target_modules": list(LINEARS), "bias": "none", "task_type": "CAUSAL_LM"}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    shapes = [s for s in tensor_plan(size, 8) if any(f".{name}.weight" in s.name for name in LINEARS)]
    plan, rng = list[Spec](), np.random.default_rng(seed)
    for spec in shapes:
        stem = "base_model.model." + spec.name.removesuffix(".weight")
        plan.append(Spec(f"{stem}.lora_A.weight", "F32", (rank, spec.shape[1])))
        plan.append(Spec(f"{stem}.lora_B.weight", "F32", (spec.shape[0], rank)))
    with Writer(folder, plan, 1 << 40) as writer:
        for spec in plan:
            writer.write(spec.name, rng.standard_normal(spec.shape, dtype=np.float32) * np.float32(0.01))
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")


def folder_bytes(folder: Path) -> int:
    """Bytes of its weights."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def anonymous_bytes(pid: int) -> int:
    """RssAnon of a process now; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def children_of(pid: int) -> list[int]:
    """Processes that a process started and that still run."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def measured(words: list[str], name: str) -> dict[str, float]:
    """Run a command in a process of its own: wall and CPU seconds, and its highest anonymous memory."""
    before, start = os.times(), time.perf_counter()
    peak = 0
    with subprocess.Popen(words, cwd=ROOT, stdout=sys.stderr) as process:
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.02):
                peak = max(peak, sum(map(anonymous_bytes, [process.pid, *children_of(process.pid)])))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        ended.set()
        watcher.join()
    if code:
        raise SystemExit(f"{name}: exit code {code}")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    found = {"wall_s": time.perf_counter() - start, "cpu_s": cpu, "peak_anon_mb": peak / 1e6}
    print(f"{name:<28} {found['wall_s']:8.1f} s wall {cpu:8.1f} s CPU {peak / 1e6:8.0f} MB anonymous", flush=True)
    return found


COMMAND = '"$@" && for last; do true; done && sync "$last"/*'  # a command whose last word is the folder it writes


def ways(out: Path, peft: bool) -> dict[str, list[str]]:
    """What is compared, by name: a command that writes the folder OUT/NAME."""
    base, adapters = str(out / "base"), [str(out / "lora"), str(out / "rslora")]
    files = [str(x) for path in sorted((out / "base").glob("*.safetensors")) for x in (path, out / "copy" / path.name)]
    merge = [sys.executable, "-m", "zhllm", "merge", "--model", base, "--adapter", *adapters, "--json"]
    found = {
        "copy": [sys.executable, "-c", COPY, *files],
        "zhllm merge": ["sh", "-c", COMMAND, "sh", *merge, "-o", str(out / "zhllm merge")],
        "our weights, no proof": [sys.executable, "-c", WEIGHTS, base, str(out / "our weights, no proof"), *adapters],
    }
    return found | ({"peft": [sys.executable, "-c", PEFT, base, str(out / "peft"), *adapters]} if peft else {})


def show_best(found: dict[str, list[dict[str, float]]]) -> None:
    """The least of each way's figures; CPU seconds as shares of peft's, wall seconds as multiples of the copy's."""
    best = {name: {key: min(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}
    best |= {name: each | {"peak_anon_mb": max(r["peak_anon_mb"] for r in found[name])} for name, each in best.items()}
    for name, each in best.items():
        line = f"{name:<24}{each['wall_s']:8.1f} s wall{each['cpu_s']:8.1f} s CPU{each['peak_anon_mb']:8.0f} MB"
        line += f"{each['wall_s'] / best['copy']['wall_s']:8.2f} of the copy's wall time"
        if "peft" in best:
            line += f"{each['cpu_s'] / best['peft']['cpu_s']:8.2f} of peft's CPU seconds"
        print(line, flush=True)


def main() -> None:
    """Make the model, measure, delete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument("--tokenizer", type=Path, default=ROOT.parent / "shared/data/tokenizers/llama2.model")
    parser.add_argument(
        "--peft", action="store_true", help="also peft's merge_and_unload (the model must fit in memory)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="each way so often, in turn; the best counts")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    base, size = args.out / "base", SIZES[args.size]
    adapters = [args.out / "lora", args.out / "rslora"]
    make_base(base, size, args.tokenizer)
    make_adapter(adapters[0], size, 64, False, 1)
    make_adapter(adapters[1], size, 16, True, 2)
    try:
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(args.rounds):
            for name, words in ways(args.out, args.peft).items():
                if name == "copy":
                    (args.out / name).mkdir()
                found.setdefault(name, []).append(measured(words, name))
                if name == "zhllm merge":
                    report = json.loads((args.out / name / "merge_report.json").read_text())
                shutil.rmtree(args.out / name)
        print(json.dumps({"runs": found, "report": report}, indent=1))
        show_best(found)
    finally:
        shutil.rmtree(args.out)


if __name__ == "__main__":
    main()
