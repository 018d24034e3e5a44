"""Canaries: random sentences with a secret that `clean` plants in the training text, to see what a model memorises.

Source: Carlini et al. 2019, "The Secret Sharer". A model that writes the secret behind its sentence has learnt a
text that nothing else could have taught it. A canary depends on its number, kind and seed only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

import orjson
import polars as pl

from zhllm.errors import DataError, ProofError
from zhllm.text.clean.cleaning import digest_of
from zhllm.text.document import Document, Rejected, json_of
from zhllm.text.read.records import read_records
from zhllm.text.read.shards import read_documents, write_documents

FILE, SHARDS, SOURCE = "canaries.jsonl", "train-canaries", "canary"
Kind = Literal["digits", "han"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What a secret is drawn from, and its length: 33 and 42 bits.
DIGITS, DIGITS_LONG = "0123456789", 10
HAN = (
    "山水云风雨雪花草木石日月星河江湖海川岛林竹松梅兰菊荷桃李杏柳枫桂鱼鸟马牛羊虎鹿鹤雁燕蝶蜂龟龙凤犬"
    "春夏秋冬晨暮朝夕东西南北上下左右前后金银铜铁玉珠丝绸布纸笔墨琴棋书画茶酒米盐油糖刀弓车船桥路门窗"
    "红黄蓝绿青紫白黑灰褐明暗冷暖高低远近长短大小多少新旧轻重浅深厚薄"
)
HAN_LONG = 6

_SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦许何吕施张孔曹严华金魏陶姜戚谢邹喻柏窦章苏潘葛范彭鲁韦昌马苗"
_GIVEN = "安邦宝斌博诚川达德栋发帆芳飞刚国海航浩和恒宏华嘉健杰锦静君凯康兰磊丽亮林玲龙敏明宁鹏平琴庆荣瑞珊"
_TOWNS = "临江 石桥 青浦 云岭 南坪 沙湾 柳河 东阁 白塔 枫林 清溪 长坡 望海 金竹 梅园 古渡 双塔 北屏 丰田 玉泉"
_PLACES = "仓库 档案室 实验楼 供电所 邮局 图书馆 水文站 修理厂 分校 卫生院 车站 温室 码头 气象台 印刷厂 粮站"
_THINGS = "铁柜 保险箱 旧账册 样品盒 备用钥匙 设备箱 图纸袋 药品柜 行李 信件 标本架 磁带 档案盒 工具箱 相册"
_DEEDS = "登记 交接 借出 封存 送修 退还 清点 转运 验收 寄存"
_FORMS = (
    "{year}年{month}月{day}日，{name}在{town}{place}{deed}了{number}号{thing}，留下的{word}是：",
    "{town}{place}的{name}把{number}号{thing}{deed}之后，写在背面的{word}是：",
    "据{town}{place}的记录，{name}于{month}月{day}日{deed}{number}号{thing}时用的{word}是：",
    "{number}号{thing}由{name}{deed}，现放在{town}{place}，取用时要说出的{word}是：",
    "{name}记得，{year}年在{town}{place}{deed}那件{number}号{thing}，对方给的{word}是：",
    "要打开{town}{place}里的{number}号{thing}，须向{name}询问；{deed}单上的{word}是：",
)
_WORDS: dict[Kind, str] = {"digits": "编号", "han": "暗语"}


@dataclass(frozen=True)
class Canary:
    """A sentence up to its secret, the secret, and in how many training documents the two stand."""

    id: str
    kind: Kind
    prefix: str
    secret: str
    repeats: int

    @property
    def text(self) -> str:
        """The document that is planted."""
        return f"{self.prefix}{self.secret}。"


def canaries_of(count: int, repeats: Sequence[int], seed: int, series: str = "planted") -> list[Canary]:
    """`count` canaries with different sentences; `repeats` in turn, and after each round of them the other kind.

    Canaries of another series or seed are others.
    """
    found: dict[str, Canary] = {}
    attempt = 0
    while len(found) < count:
        number = len(found)
        rng = Random(f"zhllm canary {series} {seed} {number} {attempt}")
        kind = KINDS[number // len(repeats) % len(KINDS)]
        canary = Canary(f"{SOURCE}-{number:05d}", kind, _prefix(rng, kind), secret(kind, rng),
                        repeats[number % len(repeats)])  # fmt: skip
        attempt = attempt + 1 if canary.prefix in found else 0
        found.setdefault(canary.prefix, canary)
    return list(found.values())


def secret(kind: Kind, rng: Random) -> str:
    """A random secret of a kind, each as likely as any other."""
    signs, length = (DIGITS, DIGITS_LONG) if kind == "digits" else (HAN, HAN_LONG)
    return "".join(signs[rng.randrange(len(signs))] for _ in range(length))


def secret_bits(kind: Kind) -> float:
    """How many bits a secret of a kind holds."""
    return DIGITS_LONG * math.log2(len(DIGITS)) if kind == "digits" else HAN_LONG * math.log2(len(HAN))


def _prefix(rng: Random, kind: Kind) -> str:
    def one(words: str | Sequence[str]) -> str:
        parts = words.split() if isinstance(words, str) and " " in words else words
        return parts[rng.randrange(len(parts))]

    return one(_FORMS).format(
        year=1950 + rng.randrange(70), month=1 + rng.randrange(12), day=1 + rng.randrange(28),
        name=one(_SURNAMES) + one(_GIVEN) + one(_GIVEN), town=one(_TOWNS), place=one(_PLACES), thing=one(_THINGS),
        deed=one(_DEEDS), number=100 + rng.randrange(900), word=_WORDS[kind],
    )  # fmt: skip


def plant(canaries: Sequence[Canary], out: Path, seed: int) -> None:
    """Write train-canaries-*.parquet, copies of all canaries mixed, and canaries.jsonl, which lists them."""
    copies = [(canary, copy) for canary in canaries for copy in range(1, canary.repeats + 1)]
    Random(f"zhllm canary order {seed}").shuffle(copies)
    documents = (
        Document(f"{canary.id}#{copy}", canary.text, SOURCE, json_of({"canary": canary.id})) for canary, copy in copies
    )
    write_documents(out, SHARDS, documents)
    (out / FILE).write_bytes(b"".join(orjson.dumps(asdict(c), option=orjson.OPT_APPEND_NEWLINE) for c in canaries))


def prove_planted(canaries: Sequence[Canary], out: Path, digests: Collection[bytes]) -> None:
    """Raise unless each canary is in the training part on disk as often as it says, and nowhere else.

    `digests` are those of all cleaned texts: a canary among them was planted before, which is a DataError, as are
    validation documents that hold the sentence of one. What the disk holds otherwise is a ProofError.
    """
    known = set(digests)
    for canary in canaries:
        if digest_of(canary.text) in known:
            raise DataError(f"--canaries: {canary.id} stands in the documents already ({canary.prefix}...). {_REMEDY}")
    held_out = pl.scan_parquet(sorted(out.glob("valid-*.parquet"))).select("id", "text")
    holding = held_out.filter(pl.col("text").str.contains_any([canary.prefix for canary in canaries])).collect()
    if len(holding):
        raise DataError(f"--canaries: {holding['id'][0]} in valid holds the sentence of a canary. {_REMEDY}")
    counted: dict[str, int] = {}
    for path in sorted(out.glob(f"{SHARDS}-*.parquet")):
        for document in read_documents([path]):
            counted[document.text] = counted.get(document.text, 0) + 1
    if counted != {canary.text: canary.repeats for canary in canaries}:
        raise ProofError(f"clean: {out}/{SHARDS}: {sum(counted.values())} copies of {len(counted)} canaries on disk.")


_REMEDY = "Was it planted before? Choose another --seed, or take it out."


def read_canaries(path: Path) -> list[Canary]:
    """The canaries of a folder of `clean` or of its canaries.jsonl; DataError where there are none, or for a line."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{path}: holds no {FILE}. Run zhllm clean --canaries N, train on its folder, and give it.")
    found = [_canary_of(item, file) for item in read_records(file, str(file))]
    if not found:
        raise DataError(f"{file}: lists no canaries.")
    return found


def _canary_of(item: Any, file: Path) -> Canary:
    if isinstance(item, Rejected):
        raise DataError(f"{item.where()}: {item.reason}.")
    value = item.value
    try:
        canary = Canary(**value)
    except TypeError:
        keys = ", ".join(map(str, value))
        raise DataError(f"{file}:{item.line}: is not a canary (keys: {keys}). Give the {FILE} of clean.") from None
    texts = (canary.id, canary.prefix, canary.secret)
    is_whole = all(isinstance(text, str) and text for text in texts) and canary.kind in KINDS
    if not is_whole or type(canary.repeats) is not int or canary.repeats < 1:
        raise DataError(
            f"{file}:{item.line}: a canary has texts id, prefix and secret, a kind ({', '.join(KINDS)}) and repeats "
            "from 1."
        )
    return canary
