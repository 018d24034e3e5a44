"""Toys on disk: fifty documents, a small SentencePiece base, a two-layer Llama; seeded, in seconds."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

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
