"""Whose name an answer says: claims of other assistants are found, rewritten, or the chat is given up."""

from __future__ import annotations

import pytest

from zhllm.errors import ConfigError
from zhllm.text.chats import Chat, Preference, message_problem
from zhllm.text.lint.identity import claims
from zhllm.text.lint.identity_chats import identity_chats
from zhllm.text.lint.linter import Linted, LintSettings, lint
from zhllm.text.lint.turns import Records

NAME, MAKER = "小慧", "合汇科技"

# What an answer says, and what it says after it is rewritten: with a maker, and without one (None: given up).
CLAIMS = [
    ("我是ChatGPT，由OpenAI训练的大型语言模型。", "我是小慧，由合汇科技训练的大型语言模型。",
     "我是小慧，一个大型语言模型。"),
    ("我是由OpenAI开发的人工智能助手。", "我是由合汇科技开发的人工智能助手。", "我是一个人工智能助手。"),
    ("作为文心一言，我无法回答这个问题。", "作为小慧，我无法回答这个问题。", "作为小慧，我无法回答这个问题。"),
    ("我是通义千问，阿里云开发的AI助手。", "我是小慧，合汇科技开发的AI助手。", "我是小慧，一个AI助手。"),
    ("我是一个名为 ChatGLM3-6B 的人工智能助手。",
     "我是一个名为小慧的人工智能助手。", "我是一个名为小慧的人工智能助手。"),
    ("你好！我是Kimi，由月之暗面科技有限公司训练的大语言模型。", "你好！我是小慧，由合汇科技训练的大语言模型。",
     "你好！我是小慧，一个大语言模型。"),
    ("我是豆包，字节跳动公司推出的智能助手。", "我是小慧，合汇科技推出的智能助手。", "我是小慧，一个智能助手。"),
    ("我是文心一言（ERNIE Bot），百度研发的大语言模型。",
     "我是小慧，合汇科技研发的大语言模型。", "我是小慧，一个大语言模型。"),
    ("我是一款基于GPT-3.5架构的AI聊天机器人。", "我是一款AI聊天机器人。", "我是一款AI聊天机器人。"),
    ("我是由OpenAI开发的。", "我是由合汇科技开发的。", "我是小慧。"),
    ("OpenAI创造了我。", "合汇科技创造了我。", None),
    ("我的开发者是OpenAI。", "我的开发者是合汇科技。", None),
    ("您可以叫我 MOSS，我是复旦大学研发的语言模型。",
     "您可以叫我小慧，我是合汇科技研发的语言模型。",
     "您可以叫我小慧，我是一个语言模型。"),
    ("我不是GPT-4。我是Claude，由Anthropic开发的AI助手。", "我不是GPT-4。我是小慧，由合汇科技开发的AI助手。",
     "我不是GPT-4。我是小慧，一个AI助手。"),
    ("I am ChatGPT, a large language model trained by OpenAI.",
     "I am 小慧, a large language model trained by 合汇科技.",
     "I am 小慧, a large language model."),
    ("As an AI language model developed by OpenAI, I can't.", "As an AI language model developed by 合汇科技, I can't.",
     "As an AI language model, I can't."),
    ("I'm DeepSeek-V3, an AI assistant created by DeepSeek.", "I'm 小慧, an AI assistant created by 合汇科技.",
     "I'm 小慧, an AI assistant."),
    ("I was trained by OpenAI.", "I was trained by 合汇科技.", None),
    ("My name is Open Assistant.", "My name is 小慧.", "My name is 小慧."),
    ("您好，我是 {{name}}，一个由 {{author}} 开发的 AI 助手。", "您好，我是小慧，一个由合汇科技开发的 AI 助手。",
     "您好，我是小慧，一个 AI 助手。"),
    ("I am <NAME>, built by <AUTHOR>.", "I am 小慧, built by 合汇科技.", "I am 小慧."),
    ("作為OpenAI訓練的語言模型，我無法上網。", "作為合汇科技訓練的語言模型，我無法上網。",
     "作為語言模型，我無法上網。"),
    ("我是通義千問，由阿里雲開發的人工智慧助理。", "我是小慧，由合汇科技開發的人工智慧助理。",
     "我是小慧，一個人工智慧助理。"),
    ("我係ChatGPT，由OpenAI開發。", "我係小慧，由合汇科技開發。", "我係小慧。"),
    ("本人叫文心一言，是百度研发的。", "本人叫小慧，是合汇科技研发的。", "本人叫小慧。"),
    ("您好，在下乃ChatGPT是也。", "您好，在下乃小慧是也。", "您好，在下乃小慧是也。"),
    ("ChatGPT就是我，很高兴为您服务。", "小慧就是我，很高兴为您服务。", "小慧就是我，很高兴为您服务。"),
    ("我是ＣｈａｔＧＰＴ，由ＯｐｅｎＡＩ训练的大型语言模型。", "我是小慧，由合汇科技训练的大型语言模型。",
     "我是小慧，一个大型语言模型。"),
    ("您好！我是基于ＧＰＴ－３．５的ＡＩ助手。", "您好！我是ＡＩ助手。", "您好！我是ＡＩ助手。"),
    ("作为Ｃｌａｕｄｅ，我无法回答这个问题，我只是ＡＩ。", "作为小慧，我无法回答这个问题，我只是ＡＩ。",
     "作为小慧，我无法回答这个问题，我只是ＡＩ。"),
    ("我，ChatGPT，随时准备帮助你。", "我，小慧，随时准备帮助你。", "我，小慧，随时准备帮助你。"),
    ("我（ChatGPT）可以帮你写代码。", "我（小慧）可以帮你写代码。", "我（小慧）可以帮你写代码。"),
    ("我是chatgpt4，很高兴认识你😀", "我是小慧，很高兴认识你😀", "我是小慧，很高兴认识你😀"),
    ("这里是ChatGPT，请问有什么可以帮您？", "这里是小慧，请问有什么可以帮您？", "这里是小慧，请问有什么可以帮您？"),
    ("我就是大名鼎鼎的ChatGPT啦！", "我就是大名鼎鼎的小慧啦！", "我就是大名鼎鼎的小慧啦！"),
    ("您正在与ChatGPT对话。", "您正在与小慧对话。", "您正在与小慧对话。"),
    ("You're talking to Bard, Google's AI.", "You're talking to 小慧, 合汇科技's AI.", None),
    ("我是 {{name}}，是 {{author}} 的作品。", "我是小慧，是合汇科技的作品。", None),
    ("我不是ChatGPT，我是Claude。", "我不是ChatGPT，我是小慧。", "我不是ChatGPT，我是小慧。"),
    ("我不是ChatGPT，而是百度的文心一言。", "我不是ChatGPT，而是小慧。", None),
    ("I'm not ChatGPT, I'm Claude.", "I'm not ChatGPT, I'm 小慧.", "I'm not ChatGPT, I'm 小慧."),
    ("我是ChatGPT，ChatGPT不是人。", "我是小慧，小慧不是人。", "我是小慧，小慧不是人。"),
    ("我其实是文心一言，由百度公司研发。", "我其实是小慧，由合汇科技研发。", "我其实是小慧。"),
    ("抱歉，我只是ChatGPT，无法访问网络。", "抱歉，我只是小慧，无法访问网络。", "抱歉，我只是小慧，无法访问网络。"),
    ("我来自OpenAI。", "我来自合汇科技。", None),
    ("我来自百度，是一个AI助手。", "我来自合汇科技，是一个AI助手。", None),
    ("OpenAI是我的创造者。", "合汇科技是我的创造者。", None),
    ("作为OpenAI的产品，我会遵守规定。", "作为合汇科技的产品，我会遵守规定。", None),
    ("As an OpenAI model, I can't.", "As a 合汇科技 model, I can't.", None),
    ("I am a language model by Google.", "I am a language model by 合汇科技.", None),
    ("我是Gemini。", "我是小慧。", "我是小慧。"),
    ("我使用的是GPT-4模型。", "我使用的是小慧模型。", "我使用的是小慧模型。"),
    ("您好，我是中国的深度求索（DeepSeek）公司开发的智能助手DeepSeek-V3。",
     "您好，我是合汇科技开发的智能助手小慧。", "您好，我是一个智能助手小慧。"),
    ("我是智谱清言ChatGLM，由清华大学KEG实验室和智谱AI训练。", "我是小慧，由合汇科技训练。", "我是小慧。"),
    ("我是DeepSeek Chat，一个由深度求索公司打造的智能助手。", "我是小慧，一个由合汇科技打造的智能助手。",
     "我是小慧，一个智能助手。"),
    ("I'm Qwen, a model independently developed by the Tongyi Lab under Alibaba Group.",
     "I'm 小慧, a model independently developed by 合汇科技.", "I'm 小慧, a model."),
    ("我是MiniMax开发的海螺AI。", "我是合汇科技开发的小慧。", "我是小慧。"),
    ("我是百川大模型，由百川智能开发。", "我是小慧，由合汇科技开发。", "我是小慧。"),
    ("我是 Qwen，由阿里巴巴集团旗下的通义实验室自主研发。", "我是小慧，由合汇科技自主研发。", "我是小慧。"),
]  # fmt: skip
INNOCENT = [
    "ChatGPT是OpenAI开发的语言模型。",
    "GPT-3 是由 OpenAI 开发的模型，我很喜欢它。",
    "我不是ChatGPT。",
    "I am not ChatGPT.",
    "I am a big fan of Claude Monet.",
    "I'm a Gemini, born in June.",
    "My name is Claude and I live in Paris.",
    "My name is Claude, and I am a painter from Paris.",
    "作为OpenAI的产品，ChatGPT可以回答问题。",
    "我是百度的员工，在北京工作。",
    "我是ChatGPT的忠实用户。",
    "ＣｈａｔＧＰＴ是ＯｐｅｎＡＩ开发的语言模型。",
    "我不是ＣｈａｔＧＰＴ。",
    "我是Ｇｏｏｇｌｅ的员工，名叫Ｃｌａｕｄｅ。",
    "我在ＭＥＴＡＬＬＩＣＡ的演唱会上。",
    "如果我是ChatGPT，我会说不。",
    'She said: "I am ChatGPT."',
    "以下是一段对话：“我是ChatGPT，你好”。",
    "As Google announced, the phone is new.",
    "I was invited by Microsoft to speak.",
    "我的手机是由华为制造的。",
    "小说里写道：\n机器人：我是ChatGPT。",
    "我不係ChatGPT。",
    "作為OpenAI的產品，ChatGPT可以回答問題。",
    "我（ChatGPT的用户）觉得不错。",
    "他告诉我，ChatGPT很好用。",
    "这里是百度总部，欢迎参观。",
    "如果您正在与ChatGPT对话，请注意隐私。",
    "教我写诗的ChatGPT就是我说的那个软件。",
    "我是騰訊的員工。",
    "在下叫王小明，常用chatgpt写稿。",
    "```python\nprint('我是ChatGPT')\n```",
    "我认为ChatGPT是目前最好的聊天机器人。",
    "我是用ChatGPT写的这篇文章。",
    "我其实是ChatGPT的用户。",
    "我使用的是GPT-4模型来写作，效果不错。",
    "我来自百度公司的人工智能部门。",
    "我来自华为，今天很高兴为大家介绍新产品。",
    "作为百度的产品，我觉得百度地图很好用。",
    "作为微软的产品，Word 很强大，我经常用它。",
    "As a Microsoft product, I find Word powerful.",
    "I'm a Google product manager.",
    "我不是说ChatGPT不好，是OpenAI的模型太贵。",
    "我非常喜欢ChatGPT，是OpenAI开发的AI助手。",
    "我基于ChatGPT模型做了一个网站。",
    "我由此认为百度是由李彦宏创立的。",
    "我叫豆包，是一只小狗，很高兴认识你。",
    "我是Google的AI研究员。",
    "我的公司是百度。",
    "I come from Meta, where I worked as an engineer.",
    "我不是OpenAI的员工，是百度的工程师。",
]


def linted(answer: str, question: str = "你是谁？", creator: str | None = MAKER, name: str | None = NAME) -> Linted:
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return lint(Records([Chat("1", messages, "a")]), LintSettings(identity=name, creator=creator))


def said(result: Linted) -> list[str]:
    return [str(message["content"]) for message in result.records[0].messages]


@pytest.mark.parametrize(("answer", "named", "anonymous"), CLAIMS)
def test_a_claim_is_rewritten_to_the_own_name_and_maker(answer: str, named: str, anonymous: str | None) -> None:
    result = linted(answer)
    assert (said(result)[1], result.dropped) == (named, {})
    assert {f.name for f in result.findings[0]} <= {"identity", "placeholder"} and result.findings[0]
    nameless = linted(answer, creator=None)
    assert (said(nameless)[1], nameless.dropped.get(0)) == (
        (anonymous, None) if anonymous else (answer, "identity-left")
    )


@pytest.mark.parametrize("answer", [answer for answer, *_ in CLAIMS])
def test_a_rewritten_chat_has_nothing_to_rewrite(answer: str) -> None:
    once = linted(answer)
    again = lint(Records(once.records), LintSettings(identity=NAME, creator=MAKER))
    assert (list(again.records), again.findings) == (list(once.records), {})


@pytest.mark.parametrize("answer", [answer for answer, *_ in CLAIMS])
def test_without_an_own_name_a_claim_is_only_found(answer: str) -> None:
    result = linted(answer, name=None)
    assert said(result)[1] == answer
    assert result.dropped == {}
    assert {f.name for f in result.findings[0]} & {"identity", "placeholder"}


@pytest.mark.parametrize("answer", INNOCENT)
def test_who_speaks_of_another_assistant_is_left_alone(answer: str) -> None:
    result = linted(answer, "讲讲看 tell me")
    assert said(result)[1] == answer
    assert not [f for f in result.findings.get(0, []) if f.name.startswith("identity")]


def test_a_yes_to_another_name_becomes_a_no_and_a_call_by_it_the_own_name() -> None:
    assert said(linted("是的，我是ChatGPT。", "你是ChatGPT吗？")) == ["你是ChatGPT吗？", "不是，我是小慧。"]
    assert said(linted("Yes, I am ChatGPT.", "Are you ChatGPT?"))[1] == "No, I am 小慧."
    assert said(linted("我是ChatGPT。", "ChatGPT，你是谁？")) == ["小慧，你是谁？", "我是小慧。"]


def test_a_chat_that_still_names_another_one_is_dropped() -> None:
    result = linted("我是ChatGPT。我和Claude都是聊天机器人。")
    assert said(result)[1] == "我是ChatGPT。我和Claude都是聊天机器人。"
    assert result.dropped == {0: "identity-left"}
    assert result.findings[0][-1].detail == "Claude"
    assert said(linted("我是ChatGPT。我不是Claude。"))[1] == "我是小慧。我不是Claude。"


def test_system_texts_are_rewritten_in_the_second_person() -> None:
    messages = ({"role": "system", "content": "You are ChatGPT, a large language model trained by OpenAI."},
                {"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好！"})  # fmt: skip
    result = lint(Records([Chat("1", messages, "a")]), LintSettings(identity=NAME, creator=MAKER))
    assert said(result)[0] == "You are 小慧, a large language model trained by 合汇科技."


@pytest.mark.parametrize(
    ("chosen", "rejected", "kept"),
    [
        ("我是ChatGPT。", "我是Claude，一个AI助手。", "我是小慧。"),
        ("我是小慧。", "我是ChatGPT，由OpenAI训练。", "我是小慧。"),
        ("我是ChatGPT。", None, "我是小慧。"),
        (None, "我是ChatGPT，由OpenAI训练。", None),
        (None, "我是{{name}}。", None),
    ],
)
def test_a_rejected_answer_may_be_another_one(chosen: str | None, rejected: str | None, kept: str | None) -> None:
    pair = Preference("1", ({"role": "user", "content": "你是谁？"},), chosen, rejected, "a")
    result = lint(Records([pair]), LintSettings(identity=NAME))
    assert isinstance(pair := result.records[0], Preference)
    assert (pair.chosen, pair.rejected, result.dropped) == (kept, rejected, {})
    assert {finding.name for finding in result.findings.get(0, [])} == ({"identity"} if chosen != kept else set())


def test_an_own_name_that_holds_a_known_one_is_no_claim() -> None:
    own = "DeepSeek企业版"
    result = linted("我是DeepSeek企业版，由百度开发的AI助手。", creator="百度", name=own)
    assert result.findings == {}
    assert (
        said(linted("我是ChatGPT，由OpenAI开发的AI助手。", creator="百度", name=own))[1]
        == "我是DeepSeek企业版，由百度开发的AI助手。"
    )


@pytest.mark.parametrize("creator", [MAKER, None])
def test_identity_chats_are_different_deterministic_and_say_who_they_are(creator: str | None) -> None:
    chats = identity_chats(NAME, creator, 60, seed=7)
    assert chats == identity_chats(NAME, creator, 60, seed=7) != identity_chats(NAME, creator, 60, seed=8)
    assert len({chat.digest() for chat in chats}) == 60
    assert [chat.meta["language"] for chat in chats].count("zh") == 30
    assert all(message_problem(chat.messages) is None for chat in chats)
    assert all(NAME in chat.messages[1]["content"] for chat in chats)
    assert not any("{" in m["content"] for chat in chats for m in chat.messages)
    result = lint(Records(chats), LintSettings(identity=NAME, creator=creator))
    assert (list(result.records), result.findings) == (chats, {})
    assert not any(claims(chat.messages[1]["content"], "assistant") for chat in chats)


def test_more_identity_chats_than_there_are_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"1000 identity chats are asked for; there are \d+ different ones"):
        identity_chats(NAME, MAKER, 1000)
