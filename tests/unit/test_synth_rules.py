"""synth's rules and checks on small texts: what is asked, in which words, with which answer and evidence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zhllm.text.document import Document
from zhllm.text.synth.answers import Answer, answers_in
from zhllm.text.synth.chunks import chunks_of
from zhllm.text.synth.grounding import Limits, answer_problem, locate, plain, question_problem, unanswerable_problem
from zhllm.text.synth.near import Questions
from zhllm.text.synth.numbers import numbers_in, value_of
from zhllm.text.synth.outline import Outline
from zhllm.text.synth.pairs import KINDS, Pair
from zhllm.text.synth.prompts import kinds_for
from zhllm.text.synth.rules import Settings, pairs_of
from zhllm.text.synth.rules_sentence import question_of

LAW = """# 中华人民共和国灯塔法

2020年1月1日 施行

## 第一章 总则

第一条 为了保护灯塔，制定本法。

第二条 本法所称灯塔，是指设在海岸、港口或者岛屿上，用灯光引导船舶航行的建筑物。

第三条 灯塔守护人由海事管理机构任命。灯塔的开放时间由海事管理机构规定。

第四条 有下列情形之一的，灯塔应当关闭：

（一）遇到台风；

（二）灯具正在检修。

县级以上人民政府应当自收到报告之日起十五日内作出决定。

第五条 本法自2020年1月1日起施行。
"""
MANUAL = """澜溪公司 内部资料

# 第三章 恒温箱TH-80 使用手册

第 1 页 共 2 页

## 操作步骤

1. 接通电源。
2. 按“设定”键。

## 怎样清洁？

先拔掉电源，再用软布擦干净。清洁剂要用中性的。

## 参数

| 产品 | 项目 | 参数 |
| --- | --- | --- |
| 恒温箱TH-80 | 保修期 | 两年 |
| 恒温箱TH-80 | 负责人 | 鲁石坚 |
| 恒温箱TH-80 | 故障码E33 | 风扇停转 |
| 恒温箱TH-90 | 保修期 | 三年 |

问：恒温箱TH-80可以放在室外吗？
答：不可以，雨水会损坏电路。
"""


def made(text: str, **settings: object) -> dict[str, Pair]:
    document = Document("d", text, "d.md")
    kept, _ = pairs_of(document, Settings(**{"style": "both", **settings}))  # type: ignore[arg-type]
    for pair in kept:
        assert 0 <= pair.start < pair.end <= len(text) and pair.context[0] <= pair.start < pair.context[1]
    return {pair.question: pair for pair in kept if pair.kind != "unanswerable"}


def test_a_law_is_asked_about_by_articles_terms_lists_and_sentences() -> None:
    pairs = made(LAW)
    name = "《中华人民共和国灯塔法》"
    said = {question: pair.answer for question, pair in pairs.items()}
    assert (
        said[f"{name}所称的灯塔是指什么？"]
        == f"{name}所称的灯塔，是指设在海岸、港口或者岛屿上，用灯光引导船舶航行的建筑物。"
    )
    listed = said[f"根据{name}，有哪些情形的，灯塔应当关闭？"]
    assert listed == "有下列情形之一的，灯塔应当关闭：\n（一）遇到台风；\n（二）灯具正在检修。"
    assert said[f"根据{name}，县级以上人民政府应当自收到报告之日起多少日内作出决定？"].endswith("十五日内作出决定。")
    assert said[f"根据{name}，灯塔的开放时间由谁规定？"] == "灯塔的开放时间由海事管理机构规定。"
    assert said[f"{name}自什么时候起施行？"] == f"{name}自2020年1月1日起施行。"
    article = next(pair for question, pair in pairs.items() if "第四条" in question)
    assert article.answer.startswith(f"{name}第四条规定：\n有下列情形") and article.answer.endswith("作出决定。")
    assert LAW[article.start : article.end].startswith("有下列情形")
    assert pairs[f"{name}所称的灯塔是指什么？"].kind == "definition"


def test_a_manual_is_asked_about_by_tables_headings_steps_and_written_questions() -> None:
    pairs = made(MANUAL)
    said = {question: pair.answer for question, pair in pairs.items()}
    assert said["恒温箱TH-80的故障码E33表示什么？"] == "恒温箱TH-80的故障码E33表示风扇停转。"
    assert any(q.endswith("恒温箱TH-80的保修期是多久？") for q in said)
    assert any(q.endswith("恒温箱TH-80的负责人是谁？") for q in said)
    assert said["恒温箱TH-80可以放在室外吗？"] == "不可以，雨水会损坏电路。"
    assert said["关于恒温箱TH-80，怎样清洁？"].startswith("先拔掉电源")
    steps = pairs["恒温箱TH-80的操作步骤是什么？"]
    assert steps.kind == "procedure" and steps.answer.endswith("1. 接通电源。\n2. 按“设定”键。")
    assert not any("第 1 页" in pair.answer or "内部资料" in pair.answer for pair in pairs.values())


def test_lines_that_come_back_on_every_page_are_in_no_answer() -> None:
    texts = [f"## {noun}的说明\n{noun}的重量是{len(text)}千克。{text * 3}" for noun, text in PASSAGES.items()]
    pages = [f"内部资料 请勿外传\n{text}\n" for text in texts]
    pairs = made("# 手册\n" + "\n".join(pages))
    assert len(pairs) >= 3 and not any("请勿外传" in pair.answer for pair in pairs.values())
    assert "恒温箱的重量是多少千克？" in pairs


def test_rows_of_one_kind_are_compared() -> None:
    rows = "产品 | 重量 | 编码\n水质仪甲型 | 3千克 | A1\n水质仪乙型 | 5千克 | B2"
    said = {question: pair for question, pair in made(f"# 产品表\n{rows}\n").items() if pair.kind == "comparison"}
    ((question, pair),) = said.items()
    assert question == "根据《产品表》，水质仪甲型和水质仪乙型的重量有什么不同？"
    assert pair.answer == "水质仪甲型的重量是3千克，而水质仪乙型的重量是5千克。"


def test_nobodys_number_is_asked_for() -> None:
    rows = "姓名 | 电话 | 身份证号 | 部门\n涂春晓 | 13800138000 | 110101199003070000 | 质检部"
    assert [q.rpartition("，")[2] for q in made(f"# 通讯录\n{rows}\n")] == ["涂春晓的部门是什么？"]


@pytest.mark.parametrize(
    ("sentence", "question"),
    [
        ("公司电脑密码每九十天要换一次。", "公司电脑密码每多少天要换一次？"),
        ("食堂晚餐要在下午三点前预订。", "食堂晚餐要在几点前预订？"),
        ("理事会成员的任期为五年，可以连选连任。", "理事会成员的任期为多少年？"),
        ("学校采购澜溪仪器可享八五折优惠。", "学校采购澜溪仪器可享几折优惠？"),
        ("违约金不超过合同金额的百分之三十。", "违约金不超过合同金额的百分之多少？"),
        ("员工请事假由部门主管审批。", "员工请事假由谁审批？"),
        ("气象站WS-9由太阳能板供电。", "气象站WS-9由什么供电？"),
        ("公司的线上培训平台叫知澜学堂。", "公司的线上培训平台叫什么？"),
        ("员工食堂在三号楼一层。", "员工食堂在哪里？"),
        ("水质笔的外壳是柠檬黄色的。", "水质笔的外壳是什么颜色？"),
        ("员工宿舍的管理员是苗翠莲。", "员工宿舍的管理员是谁？"),
        ("报名费为１，２００元。", "报名费为多少元？"),
    ],
)
def test_the_answers_place_becomes_the_question_word(sentence: str, question: str) -> None:
    found = question_of(sentence)
    assert found is not None and found[0] == question


@pytest.mark.parametrize(
    "sentence",
    [
        "语气急一点可以理解。",
        "风杯的轴承每两三年换一次。",
        "依照本法第三十八条的规定执行。",
        "处二万元以上二十万元以下的罚款。",
        "保障妇女的合法权益是全社会的共同责任。",
        "民事法律行为无效。",
        "国家在必要时得设立特别行政区。",
        "六月十六日，一丝风也没有。",
    ],
)
def test_sentences_that_make_no_good_question_make_none(sentence: str) -> None:
    assert question_of(sentence) is None


@pytest.mark.parametrize(
    "text",
    [
        "它的保修期是三年，请您放心。",
        "我们的保修期是三年。",
        "超过三十天的，要写明原因。",
        "上述设备的保修期是三年。",
        "那台仪器的保修期大概是三年。",
    ],
)
def test_sentences_that_lean_on_others_are_left_alone(text: str) -> None:
    assert made(f"# 保修\n{text}\n") == {}


def test_traditional_documents_are_asked_in_traditional_characters() -> None:
    body = "顯微鏡的負責人是魯石堅。顯微鏡的保修期是七年，請妥善保管購買憑證，以便辦理維修手續。"
    text = f"# 顯微鏡使用手冊\n\n## 保修與維護\n\n{body}"
    questions = set(made(text))
    assert "顯微鏡的負責人是誰？" in questions
    assert any("說" in q or "講" in q or "內容" in q for q in questions) and not any("么" in q for q in questions)


def test_a_question_beside_a_passage_that_does_not_answer_is_refused() -> None:
    parts = [f"## {noun}\n\n{noun}的保修期是{n}年。{text * 6}" for n, (noun, text) in enumerate(PASSAGES.items(), 3)]
    document = Document("d", "# 手册\n\n" + "\n\n".join(parts), "d.md")
    kept, _ = pairs_of(document, Settings(style="grounded", chunk_chars=150))
    refused = [pair for pair in kept if pair.kind == "unanswerable"]
    assert refused and all("材料" in pair.answer for pair in refused)
    for pair in refused:
        assert pair.question[:3] not in document.text[slice(*pair.context)]


PASSAGES = {
    "恒温箱": "清晨打开窗户，让新鲜空气进来。",
    "离心机": "雨后的山路很滑，行人要小心。",
    "光度计": "老师把苹果分给每个孩子。",
}


def test_a_table_that_says_it_in_other_words_is_an_answer() -> None:
    from zhllm.text.synth.grounding import seen_in
    from zhllm.text.synth.rules import does_not_answer

    pair = Pair("factual", "海外出差要由谁批准？", "海外出差要由副总经理陆怀舟批准。", 0, 9, (0, 9), "agent")
    assert not does_not_answer(pair, seen_in("出差高铁 | 座位等级 | 二等座\n海外出差 | 批准人 | 陆怀舟"))
    assert does_not_answer(pair, seen_in("出差高铁 | 座位等级 | 二等座\n县城住宿 | 每晚上限 | 260元"))
    pair = Pair("factual", "恒温箱的功率是多少？", "恒温箱的功率是一千五百瓦。", 0, 9, (0, 9), "number")
    assert not does_not_answer(pair, seen_in("额定功率：1,500 W"))


def test_at_most_so_many_pairs_of_a_document_in_their_shares() -> None:
    lines = "\n".join(f"水质仪Q{n}的保修期是{n + 1}年。" for n in range(1, 30))
    terms = "\n".join(f"“溶解氧{c}”是指水里的氧气{c}的含量。" for c in "甲乙丙丁戊己庚辛")
    text = f"# 保修与名词\n{lines}\n{terms.replace('“', '').replace('”', '')}\n"
    document = Document("d", text, "d.md")
    shares = {"factual": 0.5, "definition": 0.5}
    kept, refused = pairs_of(document, Settings(per_document=8, shares=shares))  # type: ignore[arg-type]
    kinds = [pair.kind for pair in kept]
    assert (kinds.count("factual"), kinds.count("definition")) == (4, 4)
    assert {one.reason for one in refused} == {"over the limit per document"}
    again, _ = pairs_of(document, Settings(per_document=8, shares=shares))  # type: ignore[arg-type]
    other, _ = pairs_of(document, Settings(per_document=8, shares=shares, seed=1))  # type: ignore[arg-type]
    assert again == kept != other


@given(st.text(alphabet="第一二条 章\n#|-：:。，？（）1.是指aA😀𠮷\u3000\t", max_size=300))
def test_every_text_is_cut_into_slices_of_itself(text: str) -> None:
    outline = Outline(Document("d", text, "d.txt"))
    assert all(text[block.start : block.end] == block.text for block in outline.blocks)
    chunks = chunks_of(outline, 100)
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert all(one.end <= other.start for one, other in zip(chunks, chunks[1:], strict=False))
    letters = [c for b in outline.blocks if b.kind not in ("furniture", "heading") for c in b.text if c.isalnum()]
    inside = [c for chunk in chunks for c in chunk.text if c.isalnum()]
    assert len(inside) >= len(letters)
    for pair in (*pairs_of(outline.document, Settings(style="both", chunk_chars=100))[0],):
        assert text[pair.start : pair.end]


@pytest.mark.parametrize("chars", [100, 300, 8000])
def test_chunks_are_bounded(chars: int) -> None:
    text = LAW + MANUAL + "没有句号的一行" * 200
    chunks = chunks_of(Outline(Document("d", text, "d.md")), chars)
    assert max(len(chunk.text) for chunk in chunks) <= chars
    assert chunks[0].path == ("中华人民共和国灯塔法",)


@pytest.mark.parametrize(
    ("numeral", "value"),
    [("三百零五", "305"), ("二〇二六", "2026"), ("两万五", "25000"), ("零点一", "0.1"), ("一千一百零二", "1102"),
     ("十", "10"),
     ("一亿二千万", "120000000"), ("十二万", "120000"), ("三千五", "3500")],
)  # fmt: skip
def test_chinese_numerals_have_values(numeral: str, value: str) -> None:
    assert f"{value_of(numeral):f}" == value


def test_numbers_are_compared_by_value() -> None:
    assert numbers_in("功率１，５００瓦，３０％，百分之三十") == numbers_in("一千五百瓦 30%") == {"1500", "30%"}
    assert numbers_in("2万元") == numbers_in("两万元") == numbers_in("20,000元")
    assert numbers_in("一般来说，万一统一，十分重要，QX-900 和 IP67") == set()


def test_evidence_is_found_in_other_widths_and_blanks() -> None:
    text = "前文。他说：“保修期是３ 年”。后文"
    assert [text[slice(*place)] for place in [locate("保修期是3年", text)] if place] == ["保修期是３ 年”。"]
    assert locate("保修期是4年", text) is None and locate("  ", text) is None
    assert plain("Ａb　1，") == "ab1"


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("该公司的保修期是多久？", "question points at something unnamed"),
        ("它有多重，多少千克？", "question points at something unnamed"),
        ("上述材料提到了什么？", "question points at its text"),
        ("请介绍一下这本手册的内容。", "question points at its text"),
        ("恒温箱的保修期是多久？", None),
        ("其他单位能不能借用恒温箱？", None),
        ("本文化馆几点开门？", None),
    ],
)
def test_questions_stand_alone(question: str, reason: str | None) -> None:
    assert question_problem(question, Limits()) == reason
    if reason == "question points at its text":
        assert question_problem(question, Limits(stands_alone=False)) is None


def test_an_answer_may_not_turn_a_rule_round() -> None:
    text = "用人单位不得解除劳动合同。职工应当遵守制度。"

    def of(answer: str) -> str | None:
        return answer_problem("能否解除？", answer, text, text, Limits())

    assert of("用人单位不得解除劳动合同。") is None
    assert of("用人单位可以解除劳动合同。") == "ungrounded: negation"
    assert of("职工不得遵守制度。") == "ungrounded: negation"


def test_an_unanswerable_question_asks_for_something_unsaid() -> None:
    assert unanswerable_problem("恒温箱的价格是多少？", "恒温箱的保修期是三年。") is None
    assert unanswerable_problem("恒温箱的保修期是多少？", "恒温箱的保修期是三年。") == "question may be answerable"


def test_answers_of_models_are_read_whatever_is_around_them() -> None:
    one = Answer("问甲？", "答甲。", "证据甲", "factual")
    text = '{"kind": "factual", "question": "问甲？", "answer": "答甲。", "evidence": "证据甲",}'
    assert answers_in(f"```json\n[{text}]\n```") == [one]
    assert answers_in(f"<think>[1] {text.replace('甲', '乙')}</think>{text}") == [one]
    assert answers_in("没有") == ["no JSON in the answer"]
    assert (
        answers_in('[{"question": "问？"}, {"question": ["问", 1], "answer": {"a": 1}}]')
        == ["no answer in the answer"] * 2
    )
    assert answers_in("[" * 5000) == ["no JSON in the answer"]


def test_near_duplicates_are_about_the_same_things() -> None:
    questions = Questions()
    assert questions.problem("恒温箱TH-80的保修期是多久？", "保修期是两年。") is None
    assert questions.problem("请问恒温箱TH-80的保修期是多久？", "保修期是两年！") == "near-duplicate question"
    assert questions.problem("恒温箱 TH-80 的保修期是多久?", "保修期是两年。") == "duplicate question"
    assert questions.problem("恒温箱TH-80的保修期是多久？", "保修期是五年。") == "contradicting answer"
    assert questions.problem("恒温箱TH-90的保修期是多久？", "保修期是两年。") is None
    long = "在社会保险经办机构登记的个人达到法定退休年龄时累计缴费满多少年可以领取第{}档基本养老金？"
    assert questions.problem(long.format(1), "满十五年。") is None
    assert questions.problem(long.format(2), "满十五年。") is None
    assert questions.problem(long.format(2) + "请问", "满十五年。") == "near-duplicate question"
    assert questions.problem("《灯塔法》第三条规定了什么？", "第三条规定：略。") is None
    assert questions.problem("《灯塔法》第四条规定了什么？", "第四条规定：略。") is None


def test_kinds_come_in_their_shares() -> None:
    shares = {"factual": 0.5, "procedure": 0.25, "definition": 0.25}
    drawn = [kind for n in range(2000) for kind in kinds_for(n, 3, shares, 0)]  # type: ignore[arg-type]
    assert abs(drawn.count("factual") / 6000 - 0.5) < 0.02 and drawn.count("comparison") == 0
    assert kinds_for(5, 3, shares, 0) == kinds_for(5, 3, shares, 0)  # type: ignore[arg-type]
    assert set(drawn) <= set(KINDS)
