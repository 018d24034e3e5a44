"""What keys and columns are called that hold a question, an answer and what belongs to them."""

from __future__ import annotations

from collections.abc import Iterable

# By role, in the order in which they are looked for.
NAMES: dict[str, tuple[str, ...]] = {
    "question": ("instruction", "prompt", "question", "query", "inputs", "input", "ask", "q", "user", "human",
                 "问题", "提问", "标准问", "标准问题", "问句", "问", "指令",
                 "用户问题", "題目", "问题描述", "問題", "提問"),
    "answer": ("output", "response", "answer", "completion", "targets", "target", "reply", "a", "assistant", "bot",
               "答案", "回答", "标准答案", "标准答", "答复", "回复", "答", "输出", "参考答案", "標準答案", "答覆"),
    "input": ("input", "context", "输入", "背景", "上下文", "材料"),
    "system": ("system", "system_prompt", "系统提示", "系统提示词"),
    "chosen": ("chosen", "好答案", "优选回答", "偏好回答"),
    "rejected": ("rejected", "差答案", "拒绝回答", "较差回答"),
    "label": ("label", "标签"),
    "id": ("id", "编号", "序号"),
}  # fmt: skip


def normal(name: str) -> str:
    """A name without case, space and the marks around it: `标准 问：` is 标准问."""
    return "".join(char for char in name.casefold() if char.isalnum() or char == "_")


def found_roles(names: Iterable[str], wanted: Iterable[str] = NAMES) -> dict[str, str]:
    """The first name of each wanted role; one name has one role."""
    by_normal: dict[str, str] = {}
    for name in names:
        by_normal.setdefault(normal(name), name)
    found: dict[str, str] = {}
    for role in wanted:
        for known in NAMES[role]:
            if known in by_normal and by_normal[known] not in found.values():
                found[role] = by_normal[known]
                break
    return found
