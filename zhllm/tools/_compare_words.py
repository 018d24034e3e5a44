"""The words of `compare`, in English and in Chinese; those that the build report has too are its own."""

from __future__ import annotations

import re
from typing import Any

from zhllm.measures import NO_INTERVAL
from zhllm.page import number
from zhllm.tools._report_words import Words

TEXTS: dict[str, tuple[str, str]] = {
    "comparison": ("Comparison", "对比"),
    "lead": (
        "Differences are to the first, over the items that both have. * marks p < 0.05: of right and wrong answers by "
        "McNemar's mid-p, of twelve other items or fewer by all choices of signs, else by a paired bootstrap.",
        "差值均相对第一列，只看两边都有的题（或文档）。* 表示 p < 0.05："
        "对错题用 McNemar 的 mid-p，其余十二项以内用全部正负号组合，再多用配对自助法。",
    ),
    "no_interval": (" (no interval: {reason})", "（无置信区间：{reason}）"),
    "none_changed": (" (right and wrong alike)", "（答案对错完全相同）"),
    "units": (" ({units} different)", "（其中 {units} 项不同）"),
    "stretches": (" ({units} stretches)", "（{units} 段）"),
    "of_shared": (
        "; on the {n} {items} that both have (of {has} and {other_has}): [1] {one}, [{place}] {two}",
        "；两边都有的 {n} {items}（各有 {has} 和 {other_has}）：[1] {one}，[{place}] {two}",
    ),
    "numbers": ("Numbers", "数值"),
    "compared": ("compared", "对比对象"),
    "against": ("{folder} (against: {model})", "{folder}（对照模型：{model}）"),
    "other_data": (
        "{name}: measured on other data, or asked in another way; the difference is not the models' alone",
        "{name}：所用数据不同或问法不同，差值不全来自模型",
    ),
    "not_whole": ("not up to date or not whole: {steps}", "已过期或不完整：{steps}"),
}


# What the items of a task are called.
ITEMS = {
    "bits": ("documents", "篇文档"),
    "preference": ("pairs", "对"),
    "memory": ("canaries", "条"),
    "health": ("prompts", "条提示"),
}
QUESTIONS = ("questions", "道题")
# Why there is no interval, in Chinese.
REASONS = (
    *NO_INTERVAL,
    (r"few documents, of which an older evaluation has no stretches", "文档太少，而旧的评测没有分段记录"),
)


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

    def items(self, task: str) -> str:
        """What a task asks."""
        return ITEMS.get(task, QUESTIONS)[self._place]

    def why(self, told: str) -> str:
        """Why there is no interval."""
        found = next((re.sub(f"^{p}$", chinese, told) for p, chinese in REASONS if re.match(f"^{p}$", told)), told)
        return found if self._place else told

    def named(self, name: str) -> str:
        """A task or a measure."""
        return name if self.is_plain else self.metric(name)
