"""The words of evaluate's report.html, in English and in Chinese; what a score is not sure of is said in both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from zhllm.measures import METRICS, NO_INTERVAL

Lang = Literal["en", "zh"]
# What each task is called on the page.
TITLES = {
    "bits": ("Bits per character", "每字符比特"), "questions": ("Questions", "问答"),
    "choice": ("Multiple choice", "选择题"), "own": ("Your own documents", "自有文档"),
    "generate": ("Generation", "生成"), "code": ("Code", "代码"), "health": ("Health", "健康检查"),
    "preference": ("Preferences", "偏好"), "memory": ("Memorisation", "记忆"),
    "harness": ("lm-evaluation-harness", "lm-evaluation-harness"),
}  # fmt: skip
CHINESE = {
    "Evaluation": "评测",
    "In short": "概要",
    "Scores of {model}: how sure they are, and what was asked.": "{model} 的得分：有多可靠，问了什么。",
    "Scores of {model} beside {against}: how sure they are, and what was asked.": (
        "{model} 与 {against} 的得分：有多可靠，问了什么。"
    ),
    "Shares": "比例",
    "{measure}, {part}": "{measure}，{part}",
    "difference, item by item": "逐项差值",
    "{model} less {against}": "{model} 减 {against}",
    "95 % interval": "95 % 区间",
    "{low} to {high}": "{low} 至 {high}",
    "no interval: {why}": "无区间：{why}",
    "none: {why}": "无：{why}",
    "{value} points": "{value} 个百分点",
    "not clear of 0": "与 0 分不开",
    "All numbers": "全部数值",
    "What was asked: sha256 ": "所问内容：sha256 ",
    "figure": "指标",
    "model": "模型",
    "value": "数值",
    "≈ chance": "≈ 随机",
    "≈ chance ({chance})": "≈ 随机（{chance}）",
    "below chance ({chance})": "低于随机（{chance}）",
    "too few to say": "太少，不足为凭",
    "Whiskers: 95 % interval, by bootstrap over items; exact where few are right, or few wrong.": (
        "须线：95 % 区间，对题目作自助法；答对或答错很少时用精确区间。"
    ),
    " The dashed line is what guessing gives; ≈ chance: the interval holds it.": (
        "虚线是随机猜测的得分；≈ 随机：区间包含它。"
    ),
    " Too few to say: fewer than ten items.": "太少，不足为凭：不到十项。",
}
# Rows of tables, by the beginning or the end of their titles: other rows are names of files and sources.
_ROWS = {
    "own": {"numbers": "数字", "names": "名称", "terms": "术语"},
    "memory": {"digits": "数字", "han": "汉字", "not planted": "未植入"},
    "categories": {"STEM": "理工", "Humanities": "人文", "Social sciences": "社会科学", "Other": "其他",
                   "China-specific": "中国特有"},
}  # fmt: skip
# Notes and reasons as the tasks write them; what is not among them stays English.
_NOTES = (
    *NO_INTERVAL,
    (r"Chosen letters: (.*)\.", r"选了各字母的次数：\1。"),
    (r"(\d+) questions got fewer worked examples, the oldest left out, to fit\.",
     r"\1 题放不下全部示例，从最早的一个起去掉。"),
    (r"Scored by (letter|text): (\d+) of (\d+) questions; (\d+) too long for the (\d+) tokens the model reads: (.*)\.",
     r"按 \1 计分：\3 题中的 \2 题；\4 题太长，模型只读 \5 个词元：\6。"),
    (r"(\d+) of (\d+) (?:questions|prompts|pairs|tasks); (\d+) too long for the (\d+) tokens the model reads: (.*)\.",
     r"\2 项中的 \1 项；\3 项太长，模型只读 \4 个词元：\5。"),
    (r"(\d+) answers that are only labelled good or bad, without another one beside them, were left out\.",
     r"\1 个回答只标了好坏，没有成对的另一个，未计入。"),
    (r"(\d+) of (\d+) (?:questions|prompts|tasks) leave less than the (\d+) tokens of --max-tokens for the answer\.",
     r"\2 项中有 \1 项留给回答的不足 --max-tokens 的 \3 个词元。"),
    (r"(\d+) of (\d+) items repeat others: intervals count what is the same once, as (\d+) in all\.",
     r"\2 项中有 \1 项与别的重复：区间里相同的只算一次，共 \3 项。"),
    (r"Questions that an earlier one answers in another way: (.*)\.", r"与前面同一题的答案相矛盾：\1。"),
    (r"Options that are the same, of which only one counts as right: (.*)\.", r"有相同的选项，只有一个算对：\1。"),
    (r"Questions that the documents could give: numbers (\d+), names (\d+), terms (\d+); --own-questions (\d+)\.",
     r"文档能出的题：数字 \1、名称 \2、术语 \3；--own-questions \4。"),
    (r"Bits of a GGUF file are those of its weights, multiplied in float32; llama.cpp also rounds activations\.",
     "GGUF 文件的比特按文件里的权重以 float32 计算；llama.cpp 还会对激活值取整。"),
    (r"Exposure of a GGUF file is that of its weights, multiplied in float32; llama.cpp also rounds activations\.",
     "GGUF 文件的暴露度按文件里的权重以 float32 计算；llama.cpp 还会对激活值取整。"),
    (r"Texts were read in windows of (\d+) tokens, as the model reads no more \((\d+) else\)\.",
     r"文本按 \1 个词元的窗口读，模型读不了更多（否则为 \2）。"),
    (r"Fewer than (\d+) different documents: intervals draw blocks of stretches of (\d+) characters\.",
     r"不同的文档不到 \1 篇：区间按 \2 字一段的文本块抽取。"),
    (r"Planted secrets are cut into ([\d.]+) tokens and random ones into ([\d.]+): the tokenizer was learnt from "
     r"planted text, and some of the exposure is its own\. Compare with --against\.",
     r"植入的秘密平均切成 \1 个词元，随机的切成 \2 个：分词器是用植入过的文本学的，"
     r"暴露度有一部分来自它。请用 --against 对比。"),
    (r"Likelier than all (\d+) random ones: (\d+) of (\d+) planted secrets\. Their exposure is ([\d.]+) bits or more; "
     r"a larger --canary-candidates shows how much more\.",
     r"\3 个植入的秘密中有 \2 个比全部 \1 个随机秘密更可能：暴露度至少 \4 比特，"
     r"加大 --canary-candidates 可知还高多少。"),
    (r"(\d+) prompts lost their beginning, so that the answers fit\.", r"\1 个提示截去了开头，好放下回答。"),
    (r"Choosing the answer with fewer tokens would get ([\d.]+) of the pairs right\.",
     r"总选词元较少的回答，能对 \1。"),
    (r"--harness-limit (\d+): a part of each task; not its score\.",
     r"--harness-limit \1：只做了每个任务的一部分，不是它的得分。"),
    (r"(\d+) requests were longer than the model reads and lost their beginning, as in lm-eval\.",
     r"\1 个请求超出模型的长度，按 lm-eval 的做法截去了开头。"),
    (r"Of (\d+) replies (\d+) passed, (\d+) were wrong, (\d+) took too long, (\d+) held no code\.",
     r"\1 个回答：\2 个通过，\3 个错误，\4 个超时，\5 个没有代码。"),
    (r"Measured of this model only: (.*)\.", r"只在这个模型上测到：\1。"),
    (r"(.*): no difference, as (\d+) items were measured of this model and (\d+) of the other one\.",
     r"\1：没有差值，这个模型测了 \2 项，另一个 \3 项。"),
    (r"The sandbox \((.*)\) keeps programs from (.*), but not from (.*)\.", r"沙箱（\1）能防：\2；防不住：\3。"),
    (r"The sandbox \((.*)\) keeps programs from (.*)\.", r"沙箱（\1）能防：\2。"),
)  # fmt: skip
_PARTS = {
    "reading your files": "读你的文件", "writing to them": "写你的文件", "reaching the network": "连网络",
    "ending other processes": "结束别的进程",
    "using more time, memory and processes than it is given": "超出给定的时间、内存和进程数", "nothing": "无",
}  # fmt: skip


class PageWords:
    """The words of one language, and what the models of the roles are called (`names`)."""

    def __init__(self, lang: Lang, names: Mapping[str, str]) -> None:
        self.names, self.is_chinese = names, lang == "zh"
        self.html_lang = "zh-Hans" if self.is_chinese else "en"

    def __call__(self, english: str, **values: Any) -> str:
        """A sentence of the page, its places filled."""
        return (CHINESE[english] if self.is_chinese else english).format(**values)

    def task(self, name: str) -> str:
        """The title of a task."""
        return TITLES.get(name, (name, name))[self.is_chinese]

    def measure(self, name: str) -> str:
        """A measure, or a part of one."""
        plain = name.replace("_", " ")
        return METRICS.get(name, (plain, plain))[self.is_chinese]

    def row(self, title: str, name: str) -> str:
        """A row of the table with this title."""
        known = next((rows for part, rows in _ROWS.items() if title.startswith(part) or title.endswith(part)), {})
        return known.get(name, name) if self.is_chinese else name

    def note(self, text: str) -> str:
        """A note of a task, or why there is no interval."""
        if not self.is_chinese:
            return text
        found = ((re.fullmatch(pattern, text), chinese) for pattern, chinese in _NOTES)
        told = next((match.expand(chinese) for match, chinese in found if match), text)
        for english, chinese in _PARTS.items() if told.startswith("沙箱") else ():
            told = told.replace(english, chinese)
        return told
