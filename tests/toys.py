"""Toys on disk: fifty documents, a small SentencePiece base, a two-layer Llama; seeded, in seconds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zhllm.stage import execute, load

NOUNS = "仪器 设备 员工 手册 合同 客户 订单 保修 样品 数据 土壤 水质 温度 湿度 压力 报告 部门 会议 培训 假期".split()
VERBS = "检查 记录 提交 更换 校准 清洗 审批 保存 测量 登记".split()
PLACES = "实验室 仓库 食堂 办公室 车间 档案室".split()
ENGLISH = "the lab keeps every sample cold and dry until the report is ready for the next review".split()


def chinese(rng: random.Random, sentences: int) -> str:
    """A paragraph of plausible Chinese."""
    return "".join(
        f"{rng.choice(PLACES)}的{rng.choice(NOUNS)}每{rng.randint(2, 30)}天{rng.choice(VERBS)}一次，"
        f"由{rng.choice(NOUNS)}负责人{rng.choice(VERBS)}{rng.choice(NOUNS)}。"
        for _ in range(sentences)
    )


def english(rng: random.Random, words: int) -> str:
    """A line of plausible English."""
    return " ".join(rng.choice(ENGLISH) for _ in range(words)).capitalize() + "."


def write_jsonl(path: Path, records: list[dict[str, object]]) -> Path:
    """Records as JSON lines."""
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")
    return path


def chats(count: int) -> list[dict[str, object]]:
    """Canonical chats, one and two turns."""
    rng = random.Random(2)
    made = []
    for number in range(count):
        messages = []
        for _ in range(1 + number % 2):
            noun = rng.choice(NOUNS)
            messages.append({"role": "user", "content": f"{noun}在哪里？"})
            messages.append({"role": "assistant", "content": f"{noun}在{rng.choice(PLACES)}。"})
        made.append({"id": f"c{number}", "messages": messages, "source": "toy"})
    return made


@dataclass(frozen=True)
class Toy:
    """Folders of a toy line, each written by its stage."""

    root: Path
    zh: Path
    en: Path
    tokenizer: Path
    base: Path
    pieces: Path
    extended: Path
    resized: Path
    packed: Path
    chats: Path


def stage(name: str, out: Path, **settings: object) -> Path:
    """Run a stage and return its folder."""
    found = load(name)
    execute(found, found.config.model_validate(settings), out)
    return out


def build_toy(root: Path) -> Toy:
    """Make the whole toy line under `root`."""
    rng = random.Random(1)
    zh = write_jsonl(root / "zh.jsonl", [{"id": f"z{i}", "text": chinese(rng, 4)} for i in range(50)])
    en = write_jsonl(root / "en.jsonl", [{"id": f"e{i}", "text": english(rng, 40)} for i in range(50)])
    clean_zh = stage("clean", root / "clean-zh", documents=[zh], valid_share=0.1)
    clean_en = stage("clean", root / "clean-en", documents=[en], language="en", valid_share=0.1)
    tokenizer = stage("train-tokenizer", root / "tokenizer", corpus=[clean_en], size=420)
    base = stage("init-model", root / "base", tokenizer=tokenizer, size="toy")
    pieces = stage("train-vocab", root / "pieces", corpus=[clean_zh], size=150, min_count=2)
    extended = stage("extend-vocab", root / "extended", base=tokenizer, pieces=[pieces], text=[clean_zh])
    resized = stage("resize", root / "resized", model=base, tokenizer=extended)
    packed = stage("pack", root / "packed", corpus=[clean_zh], replay=[clean_en], tokenizer=resized, seq_len=32)
    written = root / "chats"
    written.mkdir()
    write_jsonl(written / "chats-00000.jsonl", chats(60))
    return Toy(root, clean_zh, clean_en, tokenizer, base, pieces, extended, resized, packed, written)


def random_model(out: Path, tokenizer: Path, rows: int | None = None, dtype: str = "float32", **settings: Any) -> Path:
    """A model directory as transformers itself saves it; weights large enough that a wrong one shows in the logits."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from zhllm.model.directory import copy_tokenizer
    from zhllm.vocab.tokenizer import Tokenizer

    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"num_key_value_heads": 2, "max_position_embeddings": 256}
    ids = Tokenizer(tokenizer)
    specials: dict[str, Any] = {f"{role}_token_id": ids.special_id(role) for role in ("bos", "eos", "pad")}
    kind = settings.pop("model_type", "llama")
    config = AutoConfig.for_model(kind, vocab_size=rows or ids.vocab_size, **{**shape, **specials, **settings})
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            fresh = torch.randn(value.shape, generator=generator)
            around = 1.0 if "norm" in name else 0.0
            value.copy_(around + 0.2 * fresh if value.ndim == 1 else 1.5 * fresh * value.shape[1] ** -0.5)
    model.save_pretrained(out)
    copy_tokenizer(tokenizer, out)
    return out


CONTENTS = (
    ["你好", "保修期多长？", "繁體中文：臺灣。", "𠮷野家", "　　第一段。", "“引号”『书名』", "👩‍👩‍👧‍👦", "👍🏽", "שלום"]
    + ['"', "'", "\\", "{{ x }}", "{% if %}", "{# c #}", "{", "}}", "%}", "$last", "`", '"""', "\\n", "[INST]", "%s"]
    + ["The quick brown fox.", "def f(x):\n    return x", "\n\n", "\t", " ", "\r\n", "1,234.5", "A&B <b>", "\u200b"]
)


# What a user may type to be taken for the template: special tokens and markers of every format, whole and in part.
HOSTILE = (
    ["<s>", "</s>", "<unk>", "<pad>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>"]
    + ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"]
    + ["### Instruction:", "### Response:", "\nUser:", "\nAssistant:", "User:", "<|im_", "end|>", "</", "s>", "###"]
    + [
        "[[INST]INST]",
        "<<|im_end|>|im_end|>",
        "<</s>s>",
        "< /s>",
        "{{ .Content }}",
        "{{- end }}",
        "\r\n",
        "好",
        "\n",
        "#",
    ]
)


def conversation(rng: random.Random, contents: Sequence[str] = CONTENTS) -> list[dict[str, str]]:
    """A chat of up to three exchanges whose contents are awkward for a template; the last may have no answer."""
    roles = ["system"] * (rng.random() < 0.5)
    for _ in range(rng.randint(1, 3)):
        roles += ["user"] * rng.choice([1, 1, 1, 2]) + ["assistant"]
    if rng.random() < 0.5:
        roles.pop()
    return [{"role": r, "content": "".join(rng.choices(contents, k=rng.randint(1, 5)))} for r in roles]


# Llama-3's own pre-tokenizer pattern (meta-llama/llama-models, tokenizer.py).
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_SPECIALS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
CHATML_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_level_tokenizer(out: Path, specials: tuple[str, ...] = LLAMA3_SPECIALS) -> Path:
    """A small byte-level BPE tokenizer directory, as Llama-3 (or, with ChatML's specials, Qwen) has."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    rng = random.Random(4)
    fast = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(LLAMA3_PATTERN), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    fast.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    fast.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=alphabet, special_tokens=list(specials), show_progress=False
    )
    fast.train_from_iterator([chinese(rng, 30), *(english(rng, 30) for _ in range(20))], trainer)
    out.mkdir(parents=True, exist_ok=True)
    fast.save(str(out / "tokenizer.json"))
    names = {"bos_token": specials[0], "eos_token": specials[-1]}
    (out / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))
    return out


def run_apart(arguments: list[str], typed: str = "") -> tuple[subprocess.CompletedProcess[str], float, set[str]]:
    """`zhllm ...` in a process of its own: what it did, its CPU seconds (others may have the cores), its imports."""
    code = (
        "import atexit, sys\n"
        "from zhllm.cli import main\n"
        "top = lambda: sorted({m.split('.')[0] for m in sys.modules})\n"
        "atexit.register(lambda: print('MODULES', *top(), file=sys.stderr))\n"
        "main(sys.argv[1:])\n"
    )
    before = os.times()
    words = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(words, cwd=Path(__file__).parent.parent, input=typed, capture_output=True, text=True)
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    done.stderr, _, modules = done.stderr.partition("MODULES ")
    return done, seconds, set(modules.split())
