"""Every word of the build report, in English and in Chinese; names that are not in the tables are shown as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from zhllm.measures import METRICS
from zhllm.page import number, percent

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = ("en", "zh")
_HTML_LANG = {"en": "en", "zh": "zh-Hans"}

TEXTS: dict[str, tuple[str, str]] = {
    "title": ("Build report: {name}", "构建报告：{name}"),
    "lead_done": ("All {count} steps are done and up to date.", "全部 {count} 个步骤已完成，均为最新。"),
    "lead_part": ("{done} of {count} steps are done and up to date.", "{count} 个步骤中，{done} 个已完成且为最新。"),
    "private": (
        "This page quotes documents and answers: think of it before you give it away.",
        "本页引用了文档和回答的原文，转交他人前请先考虑。",
    ),
    # Sections.
    "in_short": ("In short", "概要"),
    "line": ("The line", "流水线"),
    "scores": ("Before and after", "训练前后对比"),
    "answers": ("Answers side by side", "回答对照"),
    "vocabulary": ("Vocabulary", "词表"),
    "corpus": ("Corpus", "语料"),
    "training": ("Training", "训练"),
    "export": ("Export quality", "导出质量"),
    "lineage": ("Lineage", "来源"),
    "environment": ("Environment", "环境"),
    "attention": ("What needs attention", "需要注意"),
    # Tiles.
    "chars_per_token": ("characters per token", "每词元字符数"),
    "from_before": ("before: {value} ({change})", "之前：{value}（{change}）"),
    "interval": ("95 % interval {low} to {high}", "95% 区间 {low} – {high}"),
    "time": ("time of all steps", "各步骤总用时"),
    "size": ("size on disk", "占用磁盘"),
    "smallest_file": ("smallest file: {kind}", "最小的文件：{kind}"),
    "kl_is": ("KL {value} nats a token", "KL {value} 奈特/词元"),
    "bits_change": ("bits per character {change}", "每字符比特 {change}"),
    # The line.
    "line_note": (
        "Each stop is a step, each line what it made, down to the last step that read it. Bars are times.",
        "每一站是一个步骤，每条线是该步骤的产物，一直连到最后读取它的步骤。横条为用时。",
    ),
    "state_done": ("up to date", "最新"),
    "state_stale": ("not up to date", "已过期"),
    "state_damaged": ("damaged", "已损坏"),
    "state_unfinished": ("unfinished", "未完成"),
    "state_waiting": ("waiting", "未开始"),
    "its_report": ("report", "报告"),
    "full_report": ("full report", "完整报告"),
    "line_about": ("{count} steps and what each was made from", "{count} 个步骤及其来源"),
    # Remarks.
    "not_in_recipe": ("is in this folder, but not in the recipe", "在此文件夹中，但不在配方里"),
    "bad_manifest": ("cannot be read: {error}", "无法读取：{error}"),
    "checkpoint": ("last checkpoint {name}", "最近的检查点 {name}"),
    "begun": ("begun", "已开始"),
    "changed_files": (
        "{count} files are gone or changed since ({files}): delete the folder and run again",
        "有 {count} 个文件丢失或被改动（{files}）：请删除该文件夹后重新运行",
    ),
    "made_again": ("is being made again", "正在重新生成"),
    "other_version": (
        "was made by version {then} of the stage; this zhllm has version {now}",
        "由该阶段的第 {then} 版生成，现在是第 {now} 版",
    ),
    "other_settings": ("the recipe has other settings now: {settings}", "配方中的设置已更改：{settings}"),
    "input_changed": ("{input} has changed since it was read", "{input} 在读取之后已改变"),
    "behind": ("waits for {steps}", "等待 {steps}"),
    "all_behind": ("Made from such steps, and so not up to date: {steps}", "由上述步骤生成，因此也已过期：{steps}"),
    "no_run_file": (
        "There is no {file} here: steps are in the order of their inputs.",
        "这里没有 {file}：步骤按输入关系排列。",
    ),
    "bad_run_file": (
        "{file} cannot be read ({error}): steps are in the order of their inputs.",
        "{file} 无法读取（{error}）：步骤按输入关系排列。",
    ),
    "bad_recipe": ("The recipe cannot be read now: {error}", "配方现在无法读取：{error}"),
    "unreadable": ("{file} cannot be shown ({error})", "{file} 无法显示（{error}）"),
    "bad_lines": ("{count} lines of {file} cannot be read", "{file} 中有 {count} 行无法读取"),
    "not_numbers": ("{file} holds {count} values that are no numbers (NaN)", "{file} 中有 {count} 个值不是数字（NaN）"),
    # Evaluation.
    "chance": ("≈ chance", "≈ 随机水平"),
    "few": ("too few to say", "题数太少，无法判断"),
    "base": ("before", "训练前"),
    "of_items": ("{n} items", "{n} 项"),
    "lower_better": ("lower is better", "越低越好"),
    "higher_better": ("higher is better", "越高越好"),
    "whiskers": (
        "Whiskers are 95 % intervals. Where two of them overlap, the difference may be luck. A dashed line is what "
        "guessing gives.",
        "细线为 95% 置信区间；两个区间重叠时，差别可能只是偶然。虚线为随机猜测的水平。",
    ),
    "paired": (
        "Difference to the base, item by item: {value} ({low} to {high}){mark}",
        "与训练前逐项比较的差：{value}（{low} – {high}）{mark}",
    ),
    "paired_alone": (
        "Difference to the base, item by item: {value} (no interval)",
        "与训练前逐项比较的差：{value}（无置信区间）",
    ),
    "points": (" points", "个百分点"),
    "unclear": (", which may be luck", "，可能只是偶然"),
    "per_part": ("By part", "分项"),
    "no_scores": ("Nothing was evaluated.", "没有做评测。"),
    "model": ("model", "模型"),
    "step": ("step", "步骤"),
    "measure": ("measure", "指标"),
    "value": ("value", "数值"),
    "items": ("items", "项数"),
    "interval_head": ("95 % interval", "95% 区间"),
    # Answers.
    "answers_about": (
        "{shown} of {count} questions, chosen by a hash, the most telling kinds first. Every answer:",
        "共 {count} 题，按哈希选出 {shown} 题，最能说明差别的在前。全部回答：",
    ),
    "asked_at_end": ("Asked at the end of the run", "运行结束时的提问"),
    "expected": ("expected", "参考答案"),
    "right": ("right", "正确"),
    "wrong": ("wrong", "错误"),
    "no_reply": ("(nothing)", "（空）"),
    # Vocabulary.
    "before": ("before", "之前"),
    "after": ("after", "之后"),
    "cpt_title": ("Characters per token, {text}", "每词元字符数（{text}）"),
    "held_out": ("held-out text", "留出文本"),
    "sentences_text": ("sample sentences", "示例句子"),
    "curve_title": ("What the first pieces alone would give", "只加前若干个词片的效果"),
    "pieces_axis": ("pieces kept", "保留的词片数"),
    "coverage": ("Characters that are one token", "单个词元即可表示的汉字"),
    "common": ("common (3,500)", "常用字（3,500）"),
    "standard": ("standard (8,105)", "通用规范字（8,105）"),
    "Traditional forms of the common": ("Traditional forms", "对应的繁体字"),
    "proofs": ("{count} comparisons in {kinds} proofs, no difference.", "{kinds} 项证明共 {count} 次比对，没有差异。"),
    "sentence_before": ("before: {n} tokens", "之前：{n} 个词元"),
    "sentence_after": ("after: {n} tokens, new ones underlined", "之后：{n} 个词元，新词元带下划线"),
    "set": ("set", "字集"),
    # Corpus.
    "documents_in": ("came in", "读入"),
    "train": ("training", "训练集"),
    "valid": ("validation", "验证集"),
    "left_out": ("left out", "剔除"),
    "documents_chars": ("documents, {chars} characters", "篇，{chars} 字符"),
    "reasons": ("Documents left out, by reason", "剔除的文档（按原因）"),
    "lengths_kept": ("Lengths of kept documents", "保留文档的长度"),
    "length_axis": ("characters (log scale)", "字符数（对数）"),
    "documents": ("documents", "文档数"),
    "none_left_out": ("Nothing was left out.", "没有剔除任何文档。"),
    # Training.
    "train_about": (
        "{steps} steps, {tokens} learnt tokens, {parameters} values trained",
        "{steps} 步，学习 {tokens} 个词元，训练 {parameters} 个参数",
    ),
    "step_axis": ("step", "步"),
    "bits_axis": ("bits per character", "每字符比特"),
    "nats_axis": ("nats a token", "奈特/词元"),
    "rate_axis": ("learning rate", "学习率"),
    "train_text": ("training text", "训练文本"),
    "train_loss": ("training", "训练"),
    "valid_loss": ("validation", "验证"),
    "curves": ("Bits per character", "每字符比特"),
    "losses": ("Loss", "损失"),
    "rates": ("Learning rate", "学习率"),
    "smoothed": ("training, mean of {n}", "训练，{n} 步均值"),
    "gate_line": ("gate {gate}", "门限 {gate}"),
    "gate_held": (
        "The gate {gate} was never broken in {count} validations.",
        "门限 {gate} 在 {count} 次验证中从未被突破。",
    ),
    "gate_broken": (
        "The gate {gate} was broken at {broken} of {count} validations, first at step {first}; step {best} was saved.",
        "门限 {gate} 在 {count} 次验证中被突破 {broken} 次，首次在第 {first} 步；保存的是第 {best} 步。",
    ),
    # Export.
    "kind": ("type", "类型"),
    "file_size": ("size", "大小"),
    "bits_weight": ("bits a weight", "每权重比特"),
    "kl": ("mean KL", "平均 KL"),
    "kl_99": ("KL 99 %", "KL 99 分位"),
    "top1": ("same likeliest token", "首选词元一致"),
    "bpc": ("bits per character", "每字符比特"),
    "change": ("change", "变化"),
    "size_axis": ("size, MB", "大小（MB）"),
    "kl_axis": ("mean KL, nats (log scale)", "平均 KL（奈特，对数）"),
    "size_kl": ("Size against divergence from the source", "大小与偏离源模型的程度"),
    "size_bpc": ("Size against bits per character", "大小与每字符比特"),
    "export_about": ("Left and low is better: small, and near to the source.", "越靠左下越好：又小又接近源模型。"),
    # Lineage and environment.
    "made_from": ("made from", "由此生成"),
    "digest": ("digest", "摘要"),
    "input_state": ("state", "状态"),
    "src_same": ("as it was read", "与读取时一致"),
    "src_changed": ("changed since", "已改变"),
    "src_gone": ("not here", "不在此处"),
    "src_outside": ("from outside, not compared", "外部输入，未比对"),
    "lineage_about": (
        "What each step was made from, by the first 12 characters of SHA-256 digests; the whole ones are in each "
        "manifest.json.",
        "每个步骤由什么生成，摘要为 SHA-256 的前 12 位，完整值见各 manifest.json。",
    ),
    "recipe": ("recipe", "配方"),
    "machine": ("machine", "机器"),
    "finished": ("last step finished (UTC)", "最后完成时间（UTC）"),
    "versions": ("versions", "版本"),
    "version": ("version", "版本"),
    "package": ("package", "软件包"),
    "by_steps": ("several: {versions}", "不一致：{versions}"),
    "settings": ("Settings of every step", "各步骤的设置"),
    "seconds": ("seconds", "秒"),
    "state": ("state", "状态"),
    "metrics": ("key figures", "主要指标"),
    "summary": ("Summary of the recipe", "配方摘要"),
}  # fmt: skip

STAGES: dict[str, tuple[str, str]] = {
    "collect": ("collect documents", "收集文档"),
    "clean": ("clean text", "清洗文本"),
    "train-tokenizer": ("train a tokenizer", "训练分词器"),
    "train-vocab": ("learn pieces", "学习词片"),
    "extend-vocab": ("extend the tokenizer", "扩充词表"),
    "init-model": ("make a fresh model", "初始化模型"),
    "resize": ("grow the embeddings", "扩展词向量"),
    "pack": ("pack rows", "打包训练行"),
    "pretrain": ("pretrain", "预训练"),
    "convert": ("convert chats", "转换对话数据"),
    "synth": ("make chats from documents", "由文档生成问答"),
    "sft": ("fine-tune", "指令微调"),
    "reward": ("train a reward model", "训练奖励模型"),
    "align": ("align to preferences", "偏好对齐"),
    "merge": ("merge", "合并"),
    "blend": ("blend models", "融合模型"),
    "export": ("export GGUF", "导出 GGUF"),
    "evaluate": ("evaluate", "评测"),
}
REASONS: dict[str, str] = {
    "advertisement": "广告或网页框架",
    "contaminated": "含评测题目",
    "contents_page": "目录页",
    "digit_share": "数字过多",
    "duplicate": "完全重复",
    "garbled": "乱码",
    "low_han_share": "汉字过少",
    "low_latin_share": "拉丁字母过少",
    "near_duplicate": "近似重复",
    "not_a_document": "不是文档",
    "repeated_grams": "词语反复",
    "repeated_lines": "行重复",
    "repeated_paragraphs": "段落重复",
    "sensitive": "敏感词",
    "symbol_share": "符号过多",
    "too_long": "过长",
    "too_short": "过短",
    "unreadable": "无法读取",
}
# What of each stage's metrics is told in one line.
KEY_METRICS: dict[str, tuple[str, ...]] = {
    "collect": ("files_read", "docs", "rejected_records"),
    "clean": ("train_docs", "valid_docs", "rejected_docs"),
    "train-tokenizer": ("vocab_size", "chars_per_token"),
    "train-vocab": ("pieces",),
    "extend-vocab": ("vocab_size", "added_pieces", "chars_per_token_after"),
    "init-model": ("parameters",),
    "resize": ("new_rows", "bits_per_char_before", "bits_per_char_after"),
    "pack": ("rows", "train_tokens", "chars_per_token"),
    "pretrain": ("steps", "bits_per_char_valid"),
    "convert": ("chats", "preferences", "rejected_records"),
    "synth": ("chats", "rejected_records"),
    "sft": ("steps", "chats", "valid_loss"),
    "merge": ("modules_updated", "greedy_agreement"),
    "evaluate": ("accuracy", "bits_per_char"),
}
SHOWN_METRICS = 3


class Words:
    """The words of one language."""

    def __init__(self, lang: str) -> None:
        self._place = LANGS.index("zh" if lang == "zh" else "en")
        self.lang = _HTML_LANG[LANGS[self._place]]
        self.colon, self.comma = (": ", ", ") if self._place == 0 else ("：", "，")

    def __call__(self, key: str, **values: Any) -> str:
        """The words of a key, its places filled; numbers with thousands separators."""
        written = {k: number(v) if isinstance(v, int | float) else str(v) for k, v in values.items()}
        return TEXTS[key][self._place].format(**written)

    def stage(self, name: str) -> str:
        """A stage in plain words."""
        return STAGES[name][self._place] if name in STAGES else name

    def metric(self, name: str) -> str:
        """A measure in plain words."""
        return METRICS[name][self._place] if name in METRICS else name.replace("_", " ")

    def reason(self, name: str) -> str:
        """Why documents were left out, in a few words."""
        return REASONS.get(name, name) if self._place else name.replace("_", " ")

    def duration(self, seconds: float) -> str:
        """Seconds as people say them."""
        minutes, rest = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        units = (("h", "min", "s"), ("小时", "分", "秒"))[self._place]
        gap, between = ("\u00a0", " ") if self._place == 0 else ("", "")
        if minutes >= 10 and not hours:
            return f"{round(seconds / 60)}{gap}{units[1]}"
        if seconds < 60:
            return f"{number(seconds, 1)}{gap}{units[2]}"
        if hours:
            return f"{hours:,}{gap}{units[0]}{between}{minutes}{gap}{units[1]}"
        return f"{minutes}{gap}{units[1]}{between}{rest}{gap}{units[2]}"


def size(value: float) -> str:
    """Bytes as people say them, in units of a thousand."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{number(value, 0 if unit == 'B' or value >= 100 else 1)}\u00a0{unit}"
        value /= 1000
    return f"{number(value, 1)}\u00a0TB"


def key_figures(stage: str, metrics: Mapping[str, Any], words: Words) -> str:
    """The few figures that tell most of a step, on one line."""
    chosen = [name for name in KEY_METRICS.get(stage, ()) if is_number(metrics.get(name))]
    if not chosen:
        chosen = [name for name, value in metrics.items() if is_number(value)][:SHOWN_METRICS]
    if stage == "export":
        kinds = {name.removeprefix("bytes_"): metrics[name] for name in metrics if name.startswith("bytes_")}
        return words.comma.join(f"{kind} {size(held)}" for kind, held in kinds.items() if is_number(held))
    return words.comma.join(f"{words.metric(name)} {_figure(name, metrics[name])}" for name in chosen)


def _figure(name: str, value: float) -> str:
    return percent(value) if name in ("accuracy", "greedy_agreement") else number(value)


def is_number(value: Any) -> bool:
    """Whether a metric is a number (yes and no are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)
