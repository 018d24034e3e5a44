"""report.html of evaluate in a browser: every task drawn, nothing fetched, nothing complained of, wide or narrow."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import Page
from evaluated import read_scores, write_cmmlu
from lxml import html
from toys import Toy, random_model, stage, write_jsonl

from zhllm.evals.intervals import ALL_SAME, ONE_ITEM, Score, mean_score, too_short
from zhllm.evals.memorisation import Ranked
from zhllm.evals.sandbox import Protection
from zhllm.stages._evaluate_bits import OF_FILES as OF_BITS
from zhllm.stages._evaluate_memorisation import OF_FILES as OF_MEMORY
from zhllm.stages._evaluate_memorisation import _at_the_limit, _of_tokenizer
from zhllm.stages._evaluate_page import page_of
from zhllm.stages._evaluate_report import write_report
from zhllm.stages._evaluate_tasks import Measured, TaskResult
from zhllm.stages._evaluate_words import TITLES, PageWords
from zhllm.stages.evaluate import table

NASTY = "<script>alert(1)</script>𠮷&甲"


@pytest.fixture(scope="module")
def made(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on four tasks; a source has a name that would be markup."""
    root = tmp_path_factory.mktemp("page")
    model = random_model(root / "mine", toy.extended, max_position_embeddings=1024)
    other = random_model(root / "base", toy.extended, max_position_embeddings=1024, num_hidden_layers=1)
    texts = [{"id": str(i), "text": f"第{i}号样品每{3 + i}天由专人在实验室检查一次，并登记。"} for i in range(8)]
    asked = [{"role": "user", "content": "几天？"}]
    pairs = [{"id": str(i), "prompt": asked, "chosen": "三天。", "rejected": "不知" * (1 + i), "source": source}
             for i, source in enumerate((NASTY, "乙") * 3)]  # fmt: skip
    data = [f"bits={write_jsonl(root / 't.jsonl', texts)}", f"choice={write_cmmlu(root / 'sets', 4)}",
            f"own={root / 't.jsonl'}", f"preference={write_jsonl(root / 'p.jsonl', pairs)}"]  # fmt: skip
    return stage("evaluate", root / "out", model=model, against=other, task=["bits", "choice", "own", "preference"],
                 data=data, prompt_format="plain", own_questions=4, score_by=["letter", "text"])  # fmt: skip


@pytest.mark.parametrize("width", [1100, 390])
def test_the_page_fetches_nothing_and_fits(made: Path, width: int) -> None:
    address = (made / "report.html").as_uri()
    with Page(width, 900) as page:
        page.open(address)
        assert page.requests == [address] and page.complaints == []
        assert page.run("document.documentElement.scrollWidth") == width, "the page scrolls sideways"
        bars = "document.querySelectorAll('.scores svg')"
        assert page.run(f"{bars}.length") > 20
        assert page.run(f"[...{bars}].every(s => s.getBoundingClientRect().width > 40)")
        assert page.run("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.run("document.documentElement.scrollWidth") == width, "numbers scroll on their own"


def test_the_page_says_what_scores_json_says(made: Path) -> None:
    page, scores = html.parse(made / "report.html").getroot(), read_scores(made)
    text = page.text_content()
    assert "Scores of mine beside base" in text and [h.text for h in page.iter("h2")] == [
        "In short", "Bits per character", "Multiple choice", "Your own documents", "Preferences"
    ]  # fmt: skip
    for score in scores["scores"]:
        row = [r for r in page.iter("tr") if [c.text_content() for c in r[:2]] == [
            score["name"], {"model": "mine", "against": "base"}[score["role"]]]]  # fmt: skip
        assert len(row) == 1 and float(row[0][2].text_content()) == pytest.approx(score["value"], abs=5e-5)
        is_few = score.get("is_few", False)
        assert ("≈ chance" in row[0].text_content()) == (score.get("is_chance", False) and not is_few)
        assert ("too few to say" in row[0].text_content()) == is_few == ("chance" in score and score["n"] < 10)
    changed = [r for r in page.iter("tr") if "points" in r.text_content()]
    assert len(changed) == sum(name in scores["differences"] for name in scores["model"]["choice"]) + 5
    assert text.count("Too few to say: fewer than ten items.") == 3, "choice, own, preference"
    assert "<script>alert(1)" not in (made / "report.html").read_text("utf-8") and NASTY in text
    assert "What was asked: sha256" in text and not page.xpath("//@src | //@href[not(starts-with(., '#'))]")


def test_columns_meet_under_han_characters(made: Path) -> None:
    lines = table(made)
    for start in ("  乙 ", "  chinese_history "):
        line = next(line for line in lines if line.startswith(start))
        before = line[: re.search(r"\d\.\d{4}", line).start()]  # type: ignore[union-attr]
        assert len(before) + before.count("乙") == lines[0].index("value")


def test_a_figure_with_no_interval_to_speak_of_and_many_rows_is_a_table() -> None:
    item = Measured("choice_accuracy", Score(1.0, 1.0, 1.0, 60, 0.25))
    rows = {f"科目{i}": Score(0.5, 0.2, 0.8, 10, 0.25) for i in range(40)}
    result = TaskResult([item], {"hash": "0" * 64, "letter": "1" * 64}, tables={"choice: subjects": rows})
    page = page_of({"model": {"choice": result}}, {}, {"model": "甲"})
    assert page.count("<svg") == 1 and page.count("科目") == 40 and "1" * 64 not in page
    assert set(TITLES) >= {"bits", "questions", "choice", "own", "generate", "code", "health", "preference", "memory"}


@pytest.mark.parametrize("swapped", [False, True])
def test_figures_are_paired_by_name_and_what_one_model_lacks_is_told(tmp_path: Path, swapped: bool) -> None:
    """In another order, one figure of one model only, and one of other items: no difference is of unlike things."""

    def measured(**items: list[float]) -> TaskResult:
        found = [Measured(name, mean_score(values, 0.0), values) for name, values in items.items()]
        return TaskResult(found, {"hash": "0" * 64})

    rate = [1.0, 0.0, 1.0, 1.0] * 5
    more = measured(memory_exposure_bits=[3.0] * 20, memory_extraction_rate=rate, memory_extraction_rate_kept=rate)
    less = measured(memory_extraction_rate=[0.0] * 20, memory_extraction_rate_kept=rate[:-1])
    roles = dict(zip(("model", "against"), (less, more) if swapped else (more, less), strict=True))
    write_report(tmp_path, {role: {"memory": found} for role, found in roles.items()}, {"model": "甲", "against": "乙"})
    scores = read_scores(tmp_path)
    assert {name: d["value"] for name, d in scores["differences"].items()} == {
        "memory_extraction_rate": -0.75 if swapped else 0.75
    }
    notes = scores["notes"]
    assert notes["against" if swapped else "model"][0] == "memory: Measured of this model only: memory_exposure_bits."
    assert notes["model"][-1] == (
        "memory: memory_extraction_rate_kept: no difference, as {} items were measured of this model and {} of the "
        "other one.".format(*((19, 20) if swapped else (20, 19)))
    )
    lines = {line.split()[0]: line for line in table(tmp_path) if line}
    assert lines["memory_exposure_bits"].index("3.0000") == lines["score"].index("against" if swapped else "value")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("3.0000") == 1 and "Measured of this model only: memory_exposure_bits." in page


# Words that a Chinese page may have all the same: names of files, flags, digests, and of what has no other name.
LATIN = (
    "mine|base|sha256|shots|chat|window tokens|documents|template|plain|format|max tokens|left out|own|choice|bits|"
    "text|per|char|byte|accuracy|macro|letter|subjects|sources|categories|chinese_history|--[a-z-]+|Humanities|China-specific|"
    "[0-9a-f]{8,}|numbers|preference|token|margin|nats?"
)


def test_a_chinese_page_says_the_same_in_chinese(made: Path, toy: Toy, tmp_path: Path) -> None:
    """Every number of the English one, and no English but names: the sets are those of `made`."""
    root = made.parent
    data = [f"bits={root / 't.jsonl'}", f"choice={root / 'sets'}", f"own={root / 't.jsonl'}",
            f"preference={root / 'p.jsonl'}"]  # fmt: skip
    out = stage("evaluate", tmp_path / "out", model=root / "mine", against=root / "base", data=data, lang="zh",
                task=["bits", "choice", "own", "preference"], prompt_format="plain", own_questions=4,
                score_by=["letter", "text"])  # fmt: skip
    english, chinese = (html.parse(folder / "report.html").getroot() for folder in (made, out))
    assert chinese.get("lang") == "zh-Hans" and english.get("lang") == "en"
    assert [h.text for h in chinese.iter("h2")] == ["概要", "每字符比特", "选择题", "自有文档", "偏好"]
    figures = [
        [float(n) for n in re.findall(r"(?<![\w.])\d+\.\d{4}(?!\d)", " ".join(p.itertext()))]
        for p in (english, chinese)
    ]
    assert figures[0] == figures[1] and len(figures[0]) > 50
    for style in chinese.iter("style"):
        style.text = ""
    told = re.sub(LATIN, "", " ".join(chinese.itertext()).replace(NASTY, ""))
    assert not (found := re.findall(r"[A-Za-z]{3,}", told)), found
    assert (out / "scores.json").read_bytes() == (made / "scores.json").read_bytes()
    address = (out / "report.html").as_uri()
    with Page(390, 900) as page:
        page.open(address)
        assert page.complaints == [] and page.run("document.documentElement.scrollWidth") == 390


def test_every_note_has_its_chinese() -> None:
    """As the tasks write them; what `made` writes is looked at above."""
    repeats = TaskResult([], {})
    repeats.add_repeats(["a", "a", "b"])
    held = Protection("Landlock 7, namespaces", ("reading your files", "writing to them"), ("ending other processes",))
    ranks = [Ranked(1, 255, 5, 9.0)] * 3
    notes = [*repeats.notes, held.told(), replace(held, not_kept_from=()).told(), OF_BITS, OF_MEMORY,
             *_of_tokenizer(ranks), *_at_the_limit(ranks), too_short(1), ONE_ITEM, ALL_SAME]  # fmt: skip
    words = PageWords("zh", {})
    assert len(notes) == 10
    for note in notes:
        chinese = words.note(note)
        assert re.search("[一-龥]", chinese) and not re.search(r"\b(the|of|and|from|are|is|to)\b", chinese), note
        assert re.findall(r"\d+", chinese) != [] or not re.search(r"\d", note)
        assert PageWords("en", {}).note(note) == note
    assert (
        words.note(held.told()) == "沙箱（Landlock 7, namespaces）能防：读你的文件, 写你的文件；防不住：结束别的进程。"
    )
    assert words.note("something new") == "something new"
    rows = [("own: subjects", "terms"), ("memory_extraction_rate: kinds", "han"), ("choice: categories", "Humanities"),
            ("choice: subjects", "terms")]  # fmt: skip
    assert [words.row(*row) for row in rows] == ["术语", "汉字", "人文", "terms"]
