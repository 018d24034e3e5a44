"""The words of `compare`, in English and in Chinese; those that the build report has too are its own."""

from __future__ import annotations

from typing import Any

from zhllm.page import number
from zhllm.tools._report_words import Words

TEXTS: dict[str, tuple[str, str]] = {
    "comparison": ("Comparison", "对比"),
    "lead": (
        "Differences are to the first. * marks p < 0.05 of a paired bootstrap over items.",
        "差值均相对第一列。* 表示按题（或文档）配对的自助法 p < 0.05。",
    ),
    "numbers": ("Numbers", "数值"),
    "compared": ("compared", "对比对象"),
    "against": ("{folder} (against: {model})", "{folder}（对照模型：{model}）"),
    "other_data": (
        "{name}: measured on other data; the difference is not the models' alone",
        "{name}：所用数据不同，差值不全来自模型",
    ),
    "not_whole": ("not up to date or not whole: {steps}", "已过期或不完整：{steps}"),
}


class CompareWords(Words):
    """The words of one language; `is_plain` leaves names of measures as files have them."""

    def __init__(self, lang: str, is_plain: bool = False) -> None:
        super().__init__(lang)
        self.is_plain = is_plain

    def __call__(self, key: str, **values: Any) -> str:
        """The words of a key, its places filled."""
        if key not in TEXTS:
            return super().__call__(key, **values)
        written = {k: number(v) if isinstance(v, int | float) else str(v) for k, v in values.items()}
        return TEXTS[key][self._place].format(**written)

    def named(self, name: str) -> str:
        """A task or a measure."""
        return name if self.is_plain else self.metric(name)
