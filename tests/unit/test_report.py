"""`report`: a page of any run, whole, half done or damaged; every number from the stages' own files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from lxml import etree, html
from test_cli import run
from toys import Toy, stage, write_jsonl

from zhllm import manifest
from zhllm.measures import METRICS
from zhllm.tools._report_card import BEGIN, END, placed
from zhllm.tools._report_line import columns_of
from zhllm.tools._report_page import html_of, write_report
from zhllm.tools._report_run import DAMAGED, DONE, STALE, UNFINISHED, WAITING, read_run
from zhllm.tools._report_scores import groups_of
from zhllm.tools._report_words import KEY_METRICS, STAGES, TEXTS, Words, size
from zhllm.tools.status import rows_of

QUESTIONS = [{"id": f"q{i}", "question": f"第{i}台仪器\U00020bb7放在哪里？<b>", "answer": "仓库"} for i in range(12)]


@pytest.fixture(scope="module")
def made(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a recipe: the toy line moved elsewhere, trained, merged and evaluated by the real stages."""
    root = tmp_path_factory.mktemp("moved") / "建 设=1"
    copied(toy.root, root)
    stage("collect", root / "collect", source=[root / "zh.jsonl"])
    stage(
        "pretrain", root / "trained", model=root / "resized", data=root / "packed", trainable="new-rows+lora",
        lora_rank=2, steps=3, rows_per_step=2, validate_every=1, gate="replay:+50%",
    )  # fmt: skip
    stage("merge", root / "merged", model=root / "resized", adapter=[root / "trained"])
    write_jsonl(root / "questions.jsonl", QUESTIONS)
    stage(
        "evaluate", root / "bits", model=root / "merged", against=root / "base", task=["bits"], data=[root / "clean-zh"]
    )
    stage(
        "evaluate", root / "asked", model=root / "merged", against=root / "base", task=["questions"],
        data=[root / "questions.jsonl"], max_tokens=2, prompt_format="plain",
    )  # fmt: skip
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return copied(made, tmp_path / "run")


def copied(source: Path, to: Path) -> Path:
    """A copy that knows nothing of its source: paths in the manifests lead into the copy."""
    shutil.copytree(source, to)
    for path in to.glob("*/manifest.json"):
        path.write_text(path.read_text(encoding="utf-8").replace(str(source), str(to)), encoding="utf-8")
    return to


def page_of(folder: Path, lang: str = "en") -> etree._Element:
    text = html_of(read_run(folder), lang, folder)
    return html.document_fromstring(text)


def words_of(page: etree._Element) -> str:
    return " ".join(" ".join(page.find("body").itertext()).split())


def test_a_run_without_a_recipe_is_read_from_its_manifests(made: Path) -> None:
    found = read_run(made)
    names = [step.name for step in found.steps]
    assert {step.state for step in found.steps} == {DONE} and len(names) == 13
    for step in found.steps:
        for source in step.sources:
            assert not source.step or names.index(source.step) < names.index(step.name)
    merged = found.named("merged")
    assert merged is not None
    assert [(s.setting, s.step, s.state) for s in merged.sources] == [
        ("model", "resized", "same"), ("adapter", "trained", "same"),
    ]  # fmt: skip
    assert found.seconds == pytest.approx(sum(step.seconds or 0 for step in found.steps))
    on_disk = sum(
        p.stat().st_size
        for step in found.steps
        for p in step.folder.rglob("*")
        if p.is_file() and "logs" not in p.parts
    )
    counted = sum(p.stat().st_size for step in found.steps for p in [step.folder / manifest.NAME])
    cards = sum(p.stat().st_size for p in made.glob("*/README.md"))
    assert found.size_bytes == on_disk - counted - cards


def test_a_run_that_was_moved_is_found_by_digests_and_names(folder: Path) -> None:
    for path in folder.glob("*/manifest.json"):
        path.write_text(path.read_text(encoding="utf-8").replace(str(folder), "/gone/run"), encoding="utf-8")
    found = read_run(folder)
    assert {step.state for step in found.steps} == {DONE}
    merged = found.named("merged")
    assert merged is not None and [s.step for s in merged.sources] == ["resized", "trained"]
    (folder / "packed").rename(folder / "rows")
    trained = read_run(folder).named("trained")
    assert trained is not None and [s.step for s in trained.sources] == ["resized", "rows"], "found by its digest"
    (folder / "rows").rename(folder / "packed")
    stage("clean", folder / "clean-zh", documents=[folder / "en.jsonl"], language="en", valid_share=0.2)
    packed = read_run(folder).named("packed")
    assert packed is not None and packed.state == STALE, "its corpus has the name of a step, and another digest"


def test_the_page_shows_what_the_stages_measured(made: Path) -> None:
    page = page_of(made)
    shown = words_of(page)
    metrics = {step.name: step.metrics for step in read_run(made).steps}
    extended = metrics["extended"]
    assert f"{extended['chars_per_token_before']:.3f}" in shown and f"{extended['chars_per_token_after']:.3f}" in shown
    bits = metrics["bits"]
    assert f"{bits['bits_per_char']:.3f}" in shown and f"{bits['against_bits_per_char']:.3f}" in shown
    assert f"came in {metrics['clean-zh']['docs_in']}" in shown
    assert "3 steps" in shown and "The gate replay:+50%" in shown, "the training run"
    limit, _ = page.xpath('//svg[contains(@aria-label, "gate replay:+50%")]/circle/title[starts-with(., "gate")]')
    before = metrics["trained"]["bits_per_char_valid_replay_before"]
    assert limit.text.endswith(f"bits per character: {1.5 * before:.3f}")
    for title in (
        "The line",
        "Before and after",
        "Answers side by side",
        "Vocabulary",
        "Corpus",
        "Training",
        "Lineage",
    ):
        assert title in shown
    questions = [unescape(str(q["question"])) for q in QUESTIONS]
    assert sum(question in shown for question in questions) == 9, "cards, with the text as text"
    assert not page.xpath("//script | //link | //img | //iframe")
    assert all(not href.startswith(("http", "//")) for href in page.xpath("//@href"))
    for href in page.xpath("//a/@href"):
        target = href[1:] if href.startswith("#") else ""
        assert page.get_element_by_id(target) is not None if target else (made / unescape_url(href)).exists(), href


def unescape_url(text: str) -> str:
    from urllib.parse import unquote

    return unquote(text)


def test_the_line_has_a_stop_for_each_step_and_tracks_to_its_readers(made: Path) -> None:
    found = read_run(made)
    page = page_of(made)
    assert len(page.xpath('//ol[@class="route"]/li/svg[@class="map"]/circle')) == len(found.steps)
    columns, tracks = columns_of(found.steps)
    read = {s.step for step in found.steps for s in step.sources if s.step}
    assert {found.steps[track.start].name for track in tracks} == read
    for track in tracks:  # no other step stands on a track before its last reader
        between = columns[track.start + 1 : track.ends[-1]]
        assert track.column not in between


def test_both_languages_have_every_word_and_no_other_language(made: Path) -> None:
    for table in (TEXTS, STAGES, METRICS):
        for key, (english, chinese) in table.items():
            assert english and chinese and not re.search("[\u4e00-\u9fff]", english), key
            assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), key
    assert all(set(names) <= set(METRICS) for names in KEY_METRICS.values())
    titles = [h.text_content() for h in page_of(made, "zh").iter("h1", "h2")]
    assert titles and all(re.search("[\u4e00-\u9fff]", title) for title in titles)
    chinese = page_of(made, "zh")
    assert chinese.get("lang") == "zh-Hans"
    for part in chinese.xpath("//figcaption | //nav/a | //dt | //th | //h2"):
        assert not re.search("before|after|documents|validation|step", part.text_content().replace("company", "")) or (
            part.text_content() in {step.name for step in read_run(made).steps}
        ), part.text_content()


def test_the_file_is_replaced_whole_and_equal_runs_give_equal_pages(folder: Path) -> None:
    first = write_report(read_run(folder)).read_bytes()
    assert write_report(read_run(folder)).read_bytes() == first
    assert [p.name for p in folder.iterdir() if "partial" in p.name] == []
    assert all(step.state == DONE for step in read_run(folder).steps), "the page is no part of a stage's folder"


@pytest.mark.parametrize("name", ["..", "a folder", "nowhere/at all/x.html"])
def test_out_is_any_file(folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a folder").mkdir()
    code, out, err = run(["report", str(folder), "--no-cards", "--out", str(tmp_path / name)], capsys)
    if name.startswith("nowhere"):
        assert code == 0 and Path(out.strip()).is_file()
        page = html.parse(out.strip())
        links = [h for h in page.xpath("//a/@href") if not h.startswith("#")]
        assert links and not any(h.startswith("/") for h in links)
        assert all((tmp_path / "nowhere" / "at all" / unescape_url(h)).exists() for h in links)
    else:
        assert code == 2 and "is a folder" in err and err.count("\n") == 1


def test_states_damaged_stale_unfinished_waiting(folder: Path) -> None:
    names = ["clean-zh", "packed", "trained", "merged", "bits", "later", "begun"]
    steps = [{"name": n, "stage": "collect", "about": ""} for n in names]
    (folder / "run.json").write_text(json.dumps({"recipe": "gone.yaml", "steps": steps}), encoding="utf-8")
    manifest.partial_of(folder / "begun").mkdir()
    stage("clean", folder / "clean-zh", documents=[folder / "en.jsonl"], language="en", valid_share=0.2)
    weights = folder / "merged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    found = {step.name: step for step in read_run(folder).steps}
    assert [found[n].state for n in names] == [DONE, STALE, STALE, DAMAGED, STALE, WAITING, UNFINISHED]
    assert {r.key for r in found["packed"].remarks} == {"input_changed"}
    assert {r.key for r in found["trained"].remarks} == {"behind"}
    assert found["resized"].remarks[0].key == "not_in_recipe"
    shown = words_of(page_of(folder))
    assert "model.safetensors" in shown and "clean-zh has changed since it was read" in shown
    assert {row["state"] for row in rows_of(read_run(folder))} == {DONE, STALE, DAMAGED, WAITING, UNFINISHED}


def test_other_settings_in_the_recipe_are_told(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = f"about: 小配方\nlang: zh\nstages:\n  clean:\n    documents: {toy.root / 'zh.jsonl'}\n    valid_share: 0.1\n"
    recipe.write_text(text, encoding="utf-8")
    out = tmp_path / "run"
    code, shown, err = run(["run", str(recipe), "-o", str(out), "--set", "clean.seed=3"], capsys)
    assert code == 0, err
    assert f"Build report:  {out / 'index.html'}" in shown
    page = html.parse(str(out / "index.html")).getroot()
    assert page.get("lang") == "zh-Hans" and "小配方" in words_of(page)
    assert [s.state for s in read_run(out).steps] == [DONE], "--set is remembered"
    recipe.write_text(text.replace("0.1", "0.2"), encoding="utf-8")
    step = read_run(out).steps[0]
    assert step.state == STALE and [(r.key, r.values["settings"]) for r in step.remarks] == [
        ("other_settings", "valid_share")
    ]
    recipe.write_text(text.replace("clean:", "cleen:"), encoding="utf-8")
    assert [r.key for r in read_run(out).remarks] == ["bad_recipe"]


def test_verify_finds_bytes_that_changed_in_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = folder / "merged" / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    assert read_run(folder).named("merged").state == DONE  # type: ignore[union-attr]
    code, _, err = run(["report", str(folder), "--verify", "--no-cards"], capsys)
    assert code == 0 and "damaged: merged" in err
    (folder / "questions.jsonl").write_text("", encoding="utf-8")
    asked = read_run(folder, verify=True).named("asked")
    assert asked is not None and "input_changed" in {r.key for r in asked.remarks}


def cut_manifest(folder: Path) -> None:
    path = folder / "bits" / manifest.NAME
    path.write_text(path.read_text(encoding="utf-8")[:200], encoding="utf-8")


def manifest_of_lists(folder: Path) -> None:
    (folder / "bits" / manifest.NAME).write_text(
        '{"key": [], "files": {}, "bytes": {}, "metrics": {}, "made_by": {}}', encoding="utf-8"
    )


def scores_of_another_kind(folder: Path) -> None:
    edit(folder / "bits" / "scores.json", "[1, 2]")


def old_report(folder: Path) -> None:
    edit(folder / "clean-zh" / "report.json", '{"documents": 3, "lengths": [1], "rejected": "none"}')


def cut_report(folder: Path) -> None:
    edit(folder / "extended" / "report.json", '{"curve": {"points": [[1')


def nan_curves(folder: Path) -> None:
    path = folder / "trained" / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = re.sub(r'"loss": [^,]+', '"loss": NaN', lines[1])
    edit(path, "\n".join([*lines, '{"step": 4, "loss"']))


def nan_metrics(folder: Path) -> None:
    path = folder / "extended" / manifest.NAME
    found = json.loads(path.read_text(encoding="utf-8"))
    found["metrics"]["chars_per_token_after"] = float("nan")
    path.write_text(json.dumps(found), encoding="utf-8")


def bad_answers(folder: Path) -> None:
    (folder / "answers.json").write_text("[3", encoding="utf-8")
    edit(
        folder / "asked" / "answers.jsonl",
        'null\n{"question": 3}\n{"model": "model", "question": "哪里？", "reply": ""}\n',
    )


def bad_run_file(folder: Path) -> None:
    (folder / "run.json").write_text('{"steps": 3}', encoding="utf-8")


def edit(path: Path, text: str) -> None:
    """Other content in a stage's folder, and a manifest that knows it."""
    path.write_text(text, encoding="utf-8")
    place = path.parent / manifest.NAME
    found = json.loads(place.read_text(encoding="utf-8"))
    found["bytes"][path.name] = path.stat().st_size
    place.write_text(json.dumps(found), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut_manifest, "cannot be read"),
        (manifest_of_lists, "has not the parts"),
        (scores_of_another_kind, "bits/scores.json cannot be shown"),
        (old_report, "clean-zh/report.json cannot be shown"),
        (cut_report, "extended/report.json cannot be shown"),
        (nan_curves, "1 values that are no numbers"),
        (nan_metrics, "Build report"),
        (bad_answers, "answers.json cannot be shown"),
        (bad_run_file, "run.json cannot be read"),
    ],
)
def test_what_cannot_be_read_is_a_line_of_the_page(
    folder: Path, damage: Callable[[Path], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(folder)
    for lang in ("en", "zh"):
        code, _, err = run(["report", str(folder), "--lang", lang, "--out", str(folder / f"{lang}.html")], capsys)
        assert code == 0, err
    assert told in words_of(html.parse(str(folder / "en.html")).getroot())
    code, out, _ = run(["status", str(folder), "--json"], capsys)
    assert code == 0 and "NaN" not in out and len(json.loads(out)) == 13
    assert run(["status", str(folder), "--lang", "zh"], capsys)[0] == 0


@pytest.mark.parametrize("command", ["report", "status"])
def test_what_is_no_run_is_told_in_a_line(
    made: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    for path, told in (
        (tmp_path, "no folder in it has a manifest.json"),
        (tmp_path / "file", "there is no such folder"),
        (tmp_path / "nothing", "there is no such folder"),
        (made / "merged", "is the folder of one stage"),
    ):
        code, _, err = run([command, str(path)], capsys)
        assert (code, err.count("\n")) == (2, 1) and told in err


def test_scores_of_every_version_are_read(folder: Path) -> None:
    groups, _ = groups_of(read_run(folder))
    accuracy = next(g for g in groups if g.metric == "accuracy")
    assert [(row.model, row.role) for row in accuracy.rows] == [("base", "against"), ("merged", "model")]
    assert accuracy.rows[0].score.n == 12 and accuracy.rows[0].score.high is not None
    old = {"model": {"questions": {"accuracy": 0.5, "accuracy_low": 0.2, "accuracy_high": 0.8, "questions": 12}}}
    nested = {"model": {"choice": {"accuracy": {"value": 0.26, "low": 0.2, "high": 0.3, "n": 40, "chance": 0.25},
                                   "subjects": {"法律": {"accuracy": {"value": 0.5, "n": 4}}}}}}  # fmt: skip
    edit(folder / "asked" / "scores.json", json.dumps(old))
    (score,) = [r.score for g in groups_of(read_run(folder))[0] if g.metric == "accuracy" for r in g.rows]
    assert (score.value, score.low, score.high, score.n, score.is_chance) == (0.5, 0.2, 0.8, 12, False)
    edit(folder / "asked" / "scores.json", json.dumps(nested))
    (score,) = [r.score for g in groups_of(read_run(folder))[0] if g.task == "choice" for r in g.rows]
    assert (score.value, score.baseline, score.is_chance) == (0.26, 0.25, True)
    shown = words_of(page_of(folder))
    assert "≈ chance" in shown and "法律" in shown
    assert "≈ 随机水平" in words_of(page_of(folder, "zh"))


def test_the_card_of_a_merged_model_carries_its_scores(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = folder / "merged" / "README.md"
    before, made = card.read_text(encoding="utf-8"), manifest.read(folder / "merged")
    assert made is not None and "README.md" not in made.files
    digest = manifest.digest(folder / "merged")
    card.write_text(before + "\nMine: 我的说明\n", encoding="utf-8")
    assert run(["report", str(folder)], capsys)[0] == 0
    text = card.read_text(encoding="utf-8")
    bits = read_run(folder).named("bits").metrics["bits_per_char"]  # type: ignore[union-attr]
    assert text.startswith(before.rstrip()) and "我的说明" in text and text.count(BEGIN) == text.count(END) == 1
    assert f"| bits per character | clean-zh | merged | {bits:.3f} |" in text
    assert manifest.digest(folder / "merged") == digest and read_run(folder).named("merged").state == DONE  # type: ignore[union-attr]
    assert run(["report", str(folder)], capsys)[0] == 0
    assert card.read_text(encoding="utf-8") == text, "a second report changes nothing"
    assert placed(text, f"{BEGIN}\nnew\n{END}\n").endswith(f"{BEGIN}\nnew\n{END}\n")


def test_numbers_as_people_say_them() -> None:
    english, chinese = Words("en"), Words("zh")
    assert [english.duration(s) for s in (0.04, 59.94, 60, 3725)] == [
        "0.0\u00a0s",
        "59.9\u00a0s",
        "1\u00a0min 0\u00a0s",
        "1\u00a0h 2\u00a0min",
    ]
    assert chinese.duration(3725) == "1小时2分"
    assert [size(n) for n in (0, 999, 1000, 123456, 19_824_242, 5e12)] == [
        "0\u00a0B", "999\u00a0B", "1.0\u00a0kB", "123\u00a0kB", "19.8\u00a0MB", "5.0\u00a0TB",
    ]  # fmt: skip


def test_a_copied_run_is_judged_by_its_own_files(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)  # its manifests lead into the original, which is whole
    steps = read_run(copy).steps
    assert {step.state for step in steps} == {DONE}
    (copy / "run.json").write_text(json.dumps({"steps": [{"name": step.name} for step in steps]}), encoding="utf-8")
    shutil.rmtree(copy / "resized")
    next((copy / "packed").glob("train*")).unlink()
    trained = read_run(copy).named("trained")
    assert trained is not None and trained.state == STALE
    assert {source.step: source.state for source in trained.sources} == {"resized": "gone", "packed": "changed"}
    assert {step.state for step in read_run(made).steps} == {DONE}
