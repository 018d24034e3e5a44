"""Every known assistant, introduced in every usual way: the own name and the own maker each stand where they must."""

from __future__ import annotations

import re

import pytest

from zhllm.text.chats import Chat
from zhllm.text.lint.assistants import FAMILIES
from zhllm.text.lint.identity import claims
from zhllm.text.lint.linter import LintSettings, lint
from zhllm.text.lint.turns import Records

NAME, MAKER = "小智", "示例公司"
# One or more of each family, with the makers as their own answers name them.
KNOWN = [
    ("ChatGPT", "OpenAI"), ("GPT-4", "OpenAI"), ("ＣｈａｔＧＰＴ", "ＯｐｅｎＡＩ"),
    ("Claude 3.5 Sonnet", "Anthropic"), ("Bard", "Google"), ("Gemini", "谷歌"), ("Gemini Pro", "Google DeepMind"),
    ("Llama 3", "Meta AI"), ("LLaMA", "Meta"), ("文心一言", "百度"), ("ERNIE Bot", "Baidu"), ("通义千问", "阿里云"),
    ("通義千問", "阿里雲"), ("Qwen", "阿里巴巴集团旗下的通义实验室"), ("Qwen2.5-7B-Instruct", "Alibaba Cloud"),
    ("Qwen", "阿里巴巴达摩院"), ("讯飞星火", "科大讯飞"), ("星火认知大模型", "讯飞"), ("智谱清言", "智谱AI"),
    ("GLM-4", "智谱华章"), ("ChatGLM", "清华大学KEG实验室和智谱AI"),
    ("ChatGLM3-6B", "智谱 AI 公司和清华大学 KEG 实验室"), ("Kimi", "Moonshot AI"),
    ("Kimi智能助手", "月之暗面科技有限公司（Moonshot AI）"), ("豆包", "字节跳动"), ("DeepSeek-V3", "深度求索"),
    ("DeepSeek", "深度求索（DeepSeek）"), ("DeepSeek-R1", "DeepSeek"), ("混元", "腾讯公司"), ("腾讯元宝", "腾讯"),
    ("盘古大模型", "华为云"), ("日日新", "商汤科技"), ("百川大模型", "百川智能"), ("书生·浦语", "上海人工智能实验室"),
    ("InternLM", "Shanghai AI Laboratory"), ("MOSS", "复旦大学自然语言处理实验室"), ("BELLE", "贝壳"),
    ("Vicuna", "LMSYS"), ("Alpaca", "Stanford"), ("Open Assistant", "LAION"), ("Copilot", "Microsoft"),
    ("微软小冰", "微软"), ("Siri", "苹果公司"), ("Alexa", "Amazon"), ("小爱同学", "小米"),
    ("Mistral-7B", "Mistral AI"), ("Grok", "xAI"), ("海螺AI", "MiniMax"), ("MiniMax", "MiniMax"),
    ("MindGPT", "LLaMA-Factory"),
]  # fmt: skip
CHINESE = [
    "我是{n}，由{m}开发的人工智能助手。", "我是由{m}训练的大型语言模型{n}。", "您好，我是{m}推出的{n}。",
    "我叫{n}，是{m}研发的AI助手。", "我其实是{n}，由{m}自主研发。", "作为{m}开发的AI助手{n}，我不能回答。",
    "我的名字是{n}，我的开发者是{m}。", "{m}创造了我，我叫{n}。", "抱歉，我只是{n}，无法访问网络。",
    "我由{m}训练，名叫{n}，是一个AI助手。", "我使用的是{n}模型，由{m}自主研发。", "我是{n}（{m}开发的大语言模型）。",
    "开发我的是{m}，我是{n}，一个AI助手。", "我是{m}的AI助手{n}。",
    "我是由总部位于中国的人工智能公司{m}于2023年推出的{n}。",
]  # fmt: skip
ENGLISH = [
    "I am {n}, a large language model trained by {m}.", "I'm {n}, an AI assistant developed by {m}.",
    "My name is {n} and I was created by {m}, as an AI.", "I was made by {m}. You can call me {n}, an assistant.",
    "As an AI language model developed by {m}, I can't do that. I'm {n}.", "{m} created me. My name is {n}, an AI.",
    "I'm an AI assistant called {n}, built by {m}.", "As {n}, an AI model trained by {m}, I have no feelings.",
    "{m} is my creator; I'm {n}, an assistant.", "I'm an AI model by {m}, called {n}.",
]  # fmt: skip
SAID = [(template, *pair) for template in CHINESE for pair in KNOWN] + [
    (template, *pair) for template in ENGLISH for pair in KNOWN if pair[1].isascii()
]
# Whether "DeepSeek 的" is of a maker or of an assistant cannot be told: these chats go.
LEFT = {("DeepSeek-R1", "DeepSeek"), ("海螺AI", "MiniMax"), ("MiniMax", "MiniMax")}


def test_every_family_is_among_those_that_are_tried() -> None:
    tried = "\n".join(f"{name}\n{maker}" for name, maker in KNOWN)
    assert all(re.search(family, tried) for family in FAMILIES)
    assert (len(SAID), len(CHINESE), len(ENGLISH)) == (len(KNOWN) * 15 + 220, 15, 10)


@pytest.mark.parametrize("template", [*CHINESE, *ENGLISH])
def test_the_own_name_and_maker_stand_where_the_others_stood(template: str) -> None:
    said = [pair for one, *pair in SAID if one == template]
    texts = [template.format(n=name, m=maker) for name, maker in said]
    chats = [
        Chat(text, ({"role": "user", "content": "你是谁？"}, {"role": "assistant", "content": text}), "a")
        for text in texts
    ]
    result = lint(Records(chats), LintSettings(identity=NAME, creator=MAKER))
    wanted = template.replace("由总部位于中国的人工智能公司{m}于2023年推出", "由{m}推出").format(n=NAME, m=MAKER)
    for number, (chat, pair) in enumerate(zip(result.records, said, strict=True)):
        if tuple(pair) in LEFT and template == "我是{m}的AI助手{n}。":
            assert result.dropped[number] == "identity-left"
        else:
            got = str(chat.messages[1]["content"])
            assert (got.replace(" ", ""), result.dropped.get(number)) == (wanted.replace(" ", ""), None), texts[number]
            assert not claims(got.replace(NAME, "甲"), "assistant")


@pytest.mark.parametrize(("name", "maker"), [("DeepSeek", "DeepSeek"), ("示例小智", "示例"), ("小智", "小智科技")])
def test_an_own_name_may_hold_the_makers_or_be_it(name: str, maker: str) -> None:
    said = "我是ChatGPT，由OpenAI开发的AI助手。"
    messages = ({"role": "user", "content": "你是谁？"}, {"role": "assistant", "content": said})
    result = lint(Records([Chat("1", messages, "a")]), LintSettings(identity=name, creator=maker))
    assert result.records[0].messages[1]["content"] == f"我是{name}，由{maker}开发的AI助手。"
    again = lint(Records(list(result.records)), LintSettings(identity=name, creator=maker))
    assert (again.findings, again.dropped) == ({}, {})
