"""The texts a tokenizer is tried and measured on: the user's own by language, or a built-in probe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zhllm.text.han import han_runs

CHINESE_LINES, ENGLISH_LINES, OTHER_LINES = "Chinese lines", "English lines", "other lines"

Text = tuple[str, str]  # its group, and the text

# Written for this file: everyday, official, technical, spoken and literary Chinese, with the punctuation,
# numbers and Latin words that real texts have between the characters.
CHINESE = """\
清晨六点，菜市场已经热闹起来，卖豆腐的老人把木板一块块摆好，等着第一位客人。
第十二条 承租人应当按照约定的期限支付租金；逾期三十日仍未支付的，出租人可以解除合同，并要求赔偿损失。
本季度公司营业收入为3.62亿元，同比增长18.4%，其中海外市场占比首次超过三成。
安装完成以后，请先断开电源，再检查指示灯是否熄灭；如果仍然闪烁，请与售后服务中心联系。
“你昨天怎么没来上课？”“发烧了，三十八度五，在家里躺了一整天。”
研究人员对一千二百名患者进行了为期两年的随访，发现规律运动能够明显降低复发风险。
数据库在写入日志之后才返回成功，因此即使服务器突然断电，已经提交的事务也不会丢失。
山路一直向上，雾气从松林里漫出来，远处的钟声好像隔着一层水。
办理居住证需要提供身份证原件、近期照片两张以及社区出具的住址证明，工作日九点至十七点受理。
使用 Python 3.12 运行脚本时，先执行 pip install -r requirements.txt，然后修改 config.yaml 中的端口号。
古人说读书破万卷，其实读得多不如读得懂，读得懂不如用得上。
地铁二号线因信号故障晚点约十五分钟，请乘客合理安排出行时间，由此带来的不便敬请谅解。
把鸡肉切成小块，用料酒、生抽和少许淀粉抓匀，腌二十分钟，下锅之前再放一勺油。
这家博物馆收藏了两千多件青铜器，最早的一件距今约三千三百年，纹饰依然清晰可辨。
老师让我们用“即使……也……”造句，我写的是：即使明天下雨，运动会也照常举行。"""

ENGLISH = """\
The bakery on the corner opens before sunrise, and by seven there is always a queue outside.
Quarterly revenue rose by 12.5% to $4.8 million, mostly because of stronger demand for spare parts.
Please disconnect the power cable before you remove the cover; the capacitor may still hold a charge.
"I thought you were on holiday," she said, "so I did not bother to call."
Researchers followed 1,200 patients for two years and found that regular exercise lowered the risk.
Either party may terminate this agreement with thirty days' written notice to the other.
If the request fails with status 503, wait a few seconds and try again with a longer timeout.
William created a new controller for the window and moved every feature into its own extension.
The path climbs through the pines until the lake appears, grey and perfectly still.
Many people consider the article on the death of the king the best that George has ever written.
Add two tablespoons of soy sauce, stir well, and let the mixture rest for about twenty minutes.
Students who miss the deadline without a valid reason will lose ten points per day.
def total(rows: list[dict[str, float]], key: str = "amount") -> float:
    return sum(row[key] for row in rows if row.get(key) is not None)
SELECT name, COUNT(*) FROM orders WHERE created_at >= '2024-01-01' GROUP BY name;"""


@dataclass(frozen=True)
class Sample:
    """Lines by group; the Chinese and the English lines of each document together; what was built in.

    `texts` are the documents as they were given, none where only the built-in probe is used.
    """

    lines: list[Text]
    chinese: list[str]
    english: list[str]
    texts: list[str]
    built_in: tuple[str, ...]


def group_of(line: str) -> str:
    """The group of a line: Chinese where it has a Han character, English where it is ASCII with letters."""
    if han_runs(line):
        return CHINESE_LINES
    return ENGLISH_LINES if line.isascii() and any(map(str.isalpha, line)) else OTHER_LINES


def sample_of(texts: Iterable[str]) -> Sample:
    """The user's texts as a sample; a language they have no line of is taken from the built-in probe."""
    given = list(texts)
    parts = [[(group_of(line), line) for line in text.split("\n") if line.strip()] for text in given]
    chinese, english = _of_group(parts, CHINESE_LINES), _of_group(parts, ENGLISH_LINES)
    built_in = []
    for name, found, probe in (("Chinese", chinese, CHINESE), ("English", english, ENGLISH)):
        if not found:
            parts.append([(group_of(line), line) for line in probe.split("\n")])
            found.append(probe)
            built_in.append(name)
    lines = [line for part in parts for line in part]
    return Sample(lines, chinese, english, given, tuple(built_in))


def _of_group(parts: Sequence[Sequence[Text]], group: str) -> list[str]:
    joined = ("\n".join(line for g, line in part if g == group) for part in parts)
    return [text for text in joined if text]
