"""The assistants that answers of others' data claim to be, and who made them, as patterns.

A name counts where an answer says it of itself (`identity`); one that is also an ordinary word or a person's
name counts only beside words of the trade.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Maker: its names; the names of its assistants and models. Patterns, the longer ones first.
_FAMILIES: tuple[tuple[str, str], ...] = (
    (r"Open\s?AI|[Oo]penai(?!\.)|OpenAi",
     r"(?:[Cc]hat\s?(?:GPT|Gpt|gpt)|CHATGPT)(?:[- ]?(?:3\.5|4o?|Plus|Turbo)\b)?"
     r"|(?:Instruct)?GPT[- ]?(?:3\.5|[2-5]o?)(?:[- ]turbo)?\b"
     r"|GPT\b|text-davinci-00\d"),
    (r"Anthropic", r"Claude(?:[- ](?:Instant|Opus|Sonnet|Haiku|[1-4](?:\.\d)?))*\b"),
    (r"(?:Google(?:\s(?:AI|Research|DeepMind))?|谷歌|DeepMind)",
     r"Bard\b|Gemini(?:[- ](?:Pro|Ultra|Flash|\d(?:\.\d)?))*\b|PaLM(?:[- ]?2)?\b|LaMDA\b"),
    (r"(?:Meta(?:\s?AI)?\b|Facebook(?:\sAI)?)",
     r"LLaMA(?!-Factory)(?:[- ]?[1-4](?:\.\d)?)?|Llama(?:[- ]?[1-4](?:\.\d)?)?\b"),
    (r"(?:百度|Baidu)", r"文心一言|文心大模型|文心|ERNIE(?:[- ]?Bot)?\b"),
    (r"(?:阿里(?:巴巴)?(?:集团)?达摩院|阿里巴巴(?:集[团團])?|阿里[云雲]|达摩院|Alibaba(?:\s(?:Cloud|Group))?)",
     r"通[义義]千[问問]|通[义義]|Qwen(?:[-A-Za-z0-9_.]*[A-Za-z0-9])?|QwQ|Tongyi(?:\sQianwen)?"),
    (r"(?:科大[讯訊][飞飛]|[讯訊][飞飛]|iFly[Tt]ek|iFLYTEK)",
     r"[讯訊][飞飛]星火(?:[认認]知)?(?:大模型)?|星火认知大模型|SparkDesk"),
    (r"(?:智[谱譜](?:\s?AI|华章)?|清华大学(?:\s?KEG\s?实验室)?|Zhipu(?:\.?\s?AI)?|Tsinghua(?:\sUniversity)?|THUDM)",
     r"智[谱譜]清言|(?:Chat)?GLM(?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"),
    (r"(?:月之暗面(?:科技)?|Moonshot(?:\s?AI)?)", r"Kimi(?:\s?智能助手|\s?Chat)?"),
    (r"(?:字[节節]跳[动動]|ByteDance|Bytedance)", r"豆包|云雀大模型|Doubao"),
    (r"(?:深度求索|DeepSeek(?=\s?(?:公司|团队|AI\b)))",
     r"DeepSeek(?!\s?(?:公司|团队))(?:\s(?:Chat|Coder)\b)?(?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"),
    (r"(?:[腾騰][讯訊](?:公司)?|Tencent)", r"[腾騰][讯訊]混元|混元(?:大模型|助手)?|[腾騰][讯訊]元[宝寶]|Hunyuan"),
    (r"(?:[华華][为為](?:[云雲])?|Huawei)", r"盘古大模型|盘古|PanGu"),
    (r"(?:商汤(?:科技)?|SenseTime)", r"日日新|SenseChat|SenseNova"),
    (r"(?:百川智能)", r"百川大模型|百川|Baichuan(?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"),
    (r"(?:上海人工智能实验室|Shanghai\sAI\sLab(?:oratory)?)",
     r"书生[·・]?浦语|InternLM(?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"),
    (r"(?:[复復]旦大[学學](?:自然语言处理实验室)?|Fudan(?:\sUniversity)?)", r"MOSS\b"),
    (r"(?:贝壳(?:找房)?|链家(?:科技)?|LianjiaTech)", r"BELLE\b"),
    (r"(?:LMSYS(?:\sOrg)?|Large\sModel\sSystems\sOrganization(?:\s\(LMSYS\))?)", r"Vicuna(?:-\d+[Bb])?"),
    (r"(?:Stanford(?:\sUniversity)?|斯坦福大学)", r"Alpaca\b"),
    (r"(?:LAION(?:-AI)?)", r"Open\s?Assistant"),
    (r"(?:Microsoft|微软(?:公司)?)", r"(?:Microsoft\s)?Copilot|Bing\sChat|微软小冰|小冰|Cortana"),
    (r"(?:Apple|苹果公司)", r"Siri"),
    (r"(?:Amazon|亚马逊(?:公司)?)", r"Alexa"),
    (r"(?:小米(?:公司)?)", r"小爱同学"),
    (r"(?:Mistral\s?AI)", r"Mi[sx]tral(?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"),
    (r"(?:xAI\b)", r"Grok\b"),
    (r"(?:MiniMax(?=\s?(?:公司|团队)))", r"海螺\s?AI|MiniMax(?!\s?(?:公司|团队))"),
    (r"(?:LLaMA-Factory)", r"MindGPT"),
)  # fmt: skip
# What these are called in ASCII, as texts of full-width letters spell it, too: ＣｈａｔＧＰＴ.
_IN_ASCII = (
    "ChatGPT", "CHATGPT", "GPT", "OpenAI", "Claude", "Anthropic", "Bard", "Gemini", "PaLM", "Google", "DeepMind",
    "LLaMA", "Llama", "Meta", "Facebook", "ERNIE", "Baidu", "Qwen", "Alibaba", "GLM", "ChatGLM", "Kimi", "Moonshot",
    "Doubao", "DeepSeek", "Hunyuan", "Tencent", "Huawei", "Baichuan", "InternLM", "MOSS", "Vicuna", "Copilot",
    "Microsoft", "Siri", "Apple", "Alexa", "Mistral", "Grok", "xAI", "MiniMax",
)  # fmt: skip
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
PLACEHOLDER_NAME = r"(?:\{\{\s?name\s?\}\}|<NAME>)"
PLACEHOLDER_MAKER = r"(?:\{\{\s?author\s?\}\}|<AUTHOR>)"


# What they begin with: `re` would else try a hundred alternatives at every place.
FIRST = "[A-ZciotxＡ-Ｚｃｉｏｔｘ上书云亚华商复字小復微文斯日星智月海深混清百盘科腾苹華訊讯谷豆贝达通链阿騰]"


def _any_of(patterns: Iterable[str]) -> str:
    # \b is no end of a name before Chinese, whose characters are letters to `re`.
    any_of = "|".join(patterns).replace(r"\b", "(?![A-Za-z0-9])")
    return rf"(?<![A-Za-z])(?={FIRST})(?:{any_of}{_wide_spellings(any_of)})"


def _wide_spellings(pattern: str) -> str:
    """Alternatives for the names in full-width letters of those that a pattern matches, perhaps with a version."""
    names = [name.translate(_WIDE) for name in _IN_ASCII if re.fullmatch(pattern, name)]
    version = "(?:[－—-]?[０-９][０-９．]*[ｏＯ]?)?"
    return rf"|(?<![Ａ-Ｚａ-ｚ])(?:{'|'.join(names)}){version}(?![Ａ-Ｚａ-ｚ０-９])" if names else ""


FAMILIES = tuple(_any_of(family) for family in _FAMILIES)
NAMES = _any_of(names for _, names in _FAMILIES)
MAKERS = _any_of(maker for maker, _ in _FAMILIES)
# Makers of nothing but assistants: whoever comes from there is one.
LABS = _any_of((
    r"Open\s?AI", "Anthropic", "DeepMind", "月之暗面", r"Moonshot(?:\s?AI)?", "深度求索", "DeepSeek",
    r"智[谱譜](?:\s?AI)?", r"Zhipu(?:\s?AI)?", "百川智能", "MiniMax", r"Mistral\s?AI", r"xAI\b", "LMSYS", "LAION",
))  # fmt: skip
# Also a word, a person, an animal: alone they tell nothing.
_COMMON = "Claude|Gemini|Bard|Llama|Kimi|豆包|盘古|混元|百川|MOSS|BELLE|Alpaca|通义|文心|Siri|Alexa|日日新|Grok"
COMMON = re.compile(rf"(?:{_COMMON}|{_COMMON.replace('|', ' ').translate(_WIDE).replace(' ', '|')})\Z")
# What stands near a claim to be an assistant.
TRADE = re.compile(
    rf"人工智[能慧]|[语語]言模型|大模型|助手|聊天|[机機]器人|\bA\.?I\b|(?-i:AI)|ＡＩ|assistant|chat\s?bot"
    r"|language model"
    r"|[为為][您你]服[务務]|可以[帮幫][您你助到]|[帮幫]助[您你]|[无無]法(?:访问|訪問|[联聯][网網]|上[网網])"
    r"|how (?:can|may) I (?:help|assist)|here to (?:help|assist)|assist you"
    rf"|{MAKERS}",
    re.IGNORECASE,
)
# Without one of these a text names none of them: looked for in whole blocks of texts.
SIGNS = (
    "GPT", "chatgpt", "Chatgpt", "ChatGpt", "Chat gpt", "chat gpt", "Chat Gpt", "openai", "Openai", "OpenAi",
    "通義", "訊飛", "智譜", "字節跳動", "騰訊", "華為", "復旦",
    "davinci", "Claude", "Bard", "Gemini", "PaLM", "LaMDA", "LLaMA", "Llama", "文心", "ERNIE", "通义", "Qwen",
    "QwQ", "Tongyi", "讯飞", "星火", "SparkDesk", "智谱", "GLM", "Kimi", "豆包", "云雀", "Doubao", "DeepSeek",
    "混元", "元宝", "Hunyuan", "盘古", "PanGu", "日日新", "SenseChat", "SenseNova", "百川", "Baichuan", "书生",
    "InternLM", "MOSS", "BELLE", "Vicuna", "Alpaca", "Assistant", "OpenAssistant", "Copilot", "Bing Chat", "小冰",
    "Cortana", "Siri", "Alexa", "小爱同学", "Mistral", "Mixtral", "Grok", "海螺", "MiniMax", "OpenAI", "Open AI",
    "Anthropic", "Google", "谷歌", "DeepMind", "Meta", "Facebook", "百度", "Baidu", "阿里", "达摩院", "Alibaba",
    "科大讯飞", "iFLYTEK", "iFlytek", "清华大学", "Zhipu", "Tsinghua", "THUDM", "月之暗面", "Moonshot", "字节跳动",
    "ByteDance", "Bytedance", "深度求索", "腾讯", "Tencent", "华为", "Huawei", "商汤", "SenseTime",
    "上海人工智能实验室", "Shanghai AI Lab", "复旦", "Fudan", "贝壳", "链家", "LianjiaTech", "LMSYS",
    "Large Model Systems", "Stanford", "斯坦福", "LAION", "Microsoft", "微软", "Apple", "苹果公司", "Amazon",
    "亚马逊", "小米", "xAI", "MindGPT", "LLaMA-Factory",
    *(name.translate(_WIDE) for name in _IN_ASCII if not name.endswith(("tGPT", "TGPT", "tGLM"))),
)  # fmt: skip
