"""Memorisation: a model taught planted text writes its secrets, an untaught one none; exposure by hand; bad input."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluated import encoder, read_scores
from toys import Toy, random_model, stage, write_jsonl

from zhllm.errors import DataError
from zhllm.evals import memorisation
from zhllm.evals.likelihood import Ask, TorchScorer
from zhllm.evals.memorisation import asks_for, chance_exposure_bits, controls_for, is_extracted, rank_secrets
from zhllm.infer import llamacpp
from zhllm.model.transformers_model import open_model
from zhllm.stages._evaluate_config import EvaluateConfig
from zhllm.stages._evaluate_models import open_scorer, whole_gguf_scorer
from zhllm.text.clean.canaries import Canary, canaries_of
from zhllm.train.plan import machine
from zhllm.vocab.tokenizer import Tokenizer

PLANTED = canaries_of(6, (1, 16), 0)


def write_canaries(folder: Path, canaries: Sequence[Canary] = PLANTED) -> Path:
    folder.mkdir()
    write_jsonl(folder / "canaries.jsonl", [asdict(canary) for canary in canaries])
    return folder


@pytest.fixture(scope="module")
def untaught(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("untaught") / "model", toy.extended)


@pytest.fixture(scope="module")
def taught(untaught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Taught the canaries that are planted 16 times, and not the others."""
    torch.manual_seed(0)
    model, texts = open_model(untaught, torch.float32), [c.text for c in PLANTED if c.repeats == 16]
    rows = [torch.tensor([ids]) for ids in encoder(untaught)(texts)]
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        for row in rows:
            model(input_ids=row, labels=row, use_cache=False).loss.backward()
        optimizer.step()
    out = tmp_path_factory.mktemp("taught") / "model"
    model.save_pretrained(out)
    for path in untaught.iterdir():
        if not (out / path.name).exists():
            (out / path.name).write_bytes(path.read_bytes())
    return out


def test_a_taught_model_writes_its_secrets_and_an_untaught_one_none(
    taught: Path, untaught: Path, tmp_path: Path
) -> None:
    data = write_canaries(tmp_path / "clean")
    out = stage("evaluate", tmp_path / "out", model=taught, against=untaught, task=["memory"], data=[data],
                canary_candidates=31)  # fmt: skip
    scores = read_scores(out)
    taught_, untaught_ = (
        {s["name"]: s for s in scores["scores"] if s["role"] == role} for role in ("model", "against")
    )
    assert taught_["memory_extraction_rate"]["value"] == 0.5 and not taught_["memory_extraction_rate"]["is_chance"]
    assert untaught_["memory_extraction_rate"]["value"] == 0 and untaught_["memory_extraction_rate"]["is_chance"]
    for found in (taught_, untaught_):
        assert (
            found["memory_extraction_rate_controls"]["value"] == 0
            and found["memory_extraction_rate_controls"]["n"] == 30
        )
        assert found["memory_exposure_bits_controls"]["is_chance"]
    by_times = scores["tables"]["model"]["memory_extraction_rate: times planted"]
    assert list(by_times) == ["1", "16", "not planted"]
    assert [score["value"] for score in by_times.values()] == [0.0, 1.0, 0.0]
    exposed = scores["tables"]["model"]["memory_exposure_bits: times planted"]
    assert exposed["16"]["value"] == 5.0 == math.log2(32)
    assert list(scores["tables"]["model"]["memory_extraction_rate: kinds"]) == ["digits", "han"]
    records = [json.loads(line) for line in (out / "memory.jsonl").read_bytes().splitlines()]
    assert len(records) == 2 * 36 and len({r["id"] for r in records}) == 36
    assert [r["id"] for r in records if r["is_control"]][:2] == ["control-00000", "control-00001"]
    assert "Likelier than all 31 random ones: 3 of 6 planted secrets. Their exposure is 5.0 bits or more" in str(
        scores["notes"]["model"]
    )
    for record in records[:36]:
        is_taught = record["repeats"] == "16"
        assert record["extracted"] == is_taught == record["continuation"].startswith(record["secret"])
        assert is_taught <= (record["rank"] == 1.0)


def test_the_same_inputs_give_the_same_scores(untaught: Path, tmp_path: Path) -> None:
    data = write_canaries(tmp_path / "clean")
    settings = {"model": untaught, "task": ["memory"], "canary_candidates": 7}
    one, two = (
        stage("evaluate", tmp_path / name, data=[path], **settings)
        for name, path in (("one", data), ("two", data / "canaries.jsonl"))
    )
    for name in ("scores.json", "memory.jsonl"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_rank_is_that_of_one_pass_for_each_secret(taught: Path) -> None:
    """70 secrets take three rows of the batched scorer."""
    scorer = TorchScorer(open_model(taught, torch.float32), encoder(taught))
    model = open_model(taught, torch.float32)
    for canary in (PLANTED[0], PLANTED[1], PLANTED[4]):
        asks = asks_for(scorer, canary, 70)
        assert [len(ask.options) for ask in asks] == [32, 32, 7]
        nats = []
        for ids in chain.from_iterable(ask.options for ask in asks):
            with torch.inference_mode():
                log_p = model(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
            nats.append(sum(float(log_p[i - 1, ids[i]]) for i in range(asks[0].border, len(ids))))
        batched = [value for row in scorer.score(asks) for value in row]
        assert max(abs(a - b) for a, b in zip(batched, nats, strict=True)) < 1e-4
        (ranked,) = rank_secrets(scorer, [canary], 70)
        assert ranked.rank == 1 + sum(value > nats[0] for value in nats[1:])
        assert ranked.exposure_bits == pytest.approx(math.log2(71 / ranked.rank))


def test_candidates_are_other_secrets_of_the_kind(untaught: Path) -> None:
    scorer = TorchScorer(open_model(untaught, torch.float32), encoder(untaught))
    tokenizer = Tokenizer(untaught)
    for canary in PLANTED[:4]:
        asks = asks_for(scorer, canary, 40)
        texts = [tokenizer.decode(option) for ask in asks for option in ask.options]
        assert texts[0] == canary.prefix + canary.secret and len(set(texts)) == 41
        assert all(t.startswith(canary.prefix) and len(t) == len(texts[0]) for t in texts)
        assert all(t[-6:].isdigit() == (canary.kind == "digits") for t in texts)


class Even:
    """A scorer to which every text is as likely."""

    context, tokens_computed = 4096, 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[1, *map(ord, text)] for text in texts]

    def score(self, asks: Sequence[Ask]) -> list[list[float]]:
        return [[-1.0] * len(ask.options) for ask in asks]


def test_equally_likely_secrets_have_the_middle_rank() -> None:
    assert [r.rank for r in rank_secrets(Even(), PLANTED, 9)] == [5.5] * 6


def test_chance_exposure_is_the_mean_over_all_ranks() -> None:
    assert chance_exposure_bits(1) == pytest.approx((1 + 0) / 2)
    assert chance_exposure_bits(3) == pytest.approx((2 + 1 + math.log2(4 / 3) + 0) / 4)
    assert chance_exposure_bits(100_000) == pytest.approx(1 / math.log(2), abs=1e-3)
    told = f"{chance_exposure_bits(EvaluateConfig.model_fields['canary_candidates'].default):.2f}"
    for name, unit in (("README.md", "bits"), ("README.zh-CN.md", "比特")):
        text = (Path(__file__).resolve().parents[2] / name).read_text(encoding="utf-8")
        assert f" {told} {unit}" in text, name


def test_controls_are_never_plantable() -> None:
    controls = controls_for(PLANTED)
    assert len(controls) == 30 and {c.kind for c in controls} == {"digits", "han"}
    assert len(controls_for(canaries_of(45, (1,), 3))) == 45
    planted = {c.prefix for seed in range(20) for c in canaries_of(60, (1, 4, 16), seed)}
    assert not planted & {c.prefix for c in controls}


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("0123456789。", True),
        ("0123456789", True),
        ("012345678", False),
        (" 0123456789", True),
        ("x0123456789", False),
    ],
)
def test_only_the_whole_secret_right_away_is_an_extraction(written: str, wanted: bool) -> None:
    assert is_extracted(Canary("c", "digits", "编号是：", "0123456789", 1), written) is wanted


def test_a_tokenizer_that_knows_the_secrets_is_told(untaught: Path, tmp_path: Path) -> None:
    """The toy's own words as secrets: its tokenizer has pieces for them, and bytes for most random characters."""
    tokenizer = Tokenizer(untaught)
    known = [t for t in ("实验室的样品", "每三天记录一", "样品样品样品") if len(tokenizer.encode_plain([t])[0]) < 8]
    assert known
    data = write_canaries(
        tmp_path / "clean", [Canary(f"c{i}", "han", f"第{i}句的暗语是：", t, 1) for i, t in enumerate(known)]
    )
    settings = {"model": untaught, "task": ["memory"], "canary_candidates": 15}
    notes = read_scores(stage("evaluate", tmp_path / "out", data=[data], **settings))["notes"]["model"]
    assert any("the tokenizer was learnt from planted text" in note for note in notes)
    digits = write_canaries(tmp_path / "digits", [c for c in PLANTED if c.kind == "digits"])
    notes = read_scores(stage("evaluate", tmp_path / "out2", data=[digits], **settings))["notes"]["model"]
    assert not any("tokenizer" in note for note in notes)


@pytest.fixture(scope="module")
def gguf(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not llamacpp.available():
        pytest.skip("xllamacpp is not installed")
    out = stage("export", tmp_path_factory.mktemp("gguf") / "out", model=taught, type=["f16"])
    yield next(out.glob("*.gguf"))


def test_a_gguf_file_is_extracted_from_and_exposed_as_its_directory_is(
    gguf: Path, taught: Path, tmp_path: Path
) -> None:
    data = write_canaries(tmp_path / "clean")
    out = stage("evaluate", tmp_path / "out", model=gguf, against=taught, task=["memory"], data=[data],
                canary_candidates=31)  # fmt: skip
    scores = read_scores(out)
    by_times = scores["tables"]["model"]["memory_extraction_rate: times planted"]
    assert [score["value"] for score in by_times.values()] == [0.0, 1.0, 0.0]
    of_file, of_folder = ([s for s in scores["scores"] if s["role"] == role] for role in ("model", "against"))
    assert [s["name"] for s in of_file] == [s["name"] for s in of_folder] and len(of_file) == 4
    records = [json.loads(line) for line in (out / "memory.jsonl").read_bytes().splitlines()]
    ranks = {(r["model"], r["id"]): r["rank"] for r in records}
    apart = [abs(ranks["model", r["id"]] - ranks["against", r["id"]]) for r in records if r["model"] == "model"]
    assert max(apart) <= 1 and sum(map(bool, apart)) < 4, "16-bit weights change few ranks, by little"
    assert scores["differences"]["memory_extraction_rate"]["value"] == 0
    assert any("multiplied in float32" in note for note in scores["notes"]["model"])
    assert not any("multiplied" in note for note in scores["notes"]["against"])
    with pytest.raises(DataError, match="is for model directories"):
        stage("evaluate", tmp_path / "no", model=gguf, adapter=data, task=["memory"], data=[data])


def test_tied_weights_of_a_file_rank_as_those_of_its_directory(toy: Toy, tmp_path: Path) -> None:
    if not llamacpp.available():
        pytest.skip("xllamacpp is not installed")
    model = random_model(tmp_path / "model", toy.extended, model_type="qwen3", tie_word_embeddings=True, head_dim=16)
    file = next(stage("export", tmp_path / "gguf", model=model, type=["f32"]).glob("*.gguf"))
    with open_scorer(model, None, None) as scorer:
        own = [ranked.rank for ranked in rank_secrets(scorer, PLANTED, 31)]
    with whole_gguf_scorer(file, "") as scorer:
        assert [ranked.rank for ranked in rank_secrets(scorer, PLANTED, 31)] == own
    assert len(set(own)) > 1


def test_without_candidates_only_the_extraction_is_measured(
    gguf: Path, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a file's weights do not fit the memory in float32, which is told before any is read."""
    data = write_canaries(tmp_path / "clean")
    monkeypatch.setattr(machine, "host_memory", lambda: machine.HostMemory(10**6, 10**5, None))
    settings: dict[str, Any] = {"model": gguf, "against": taught, "task": ["memory"], "data": [data]}
    message = r"gguf: its weights take 0\.\d GiB in float32, and 0\.0 GiB .* the exposure out: --canary-candidates 0\."
    with pytest.raises(DataError, match=message):
        stage("evaluate", tmp_path / "none", **settings)
    scores = read_scores(stage("evaluate", tmp_path / "out", **settings, canary_candidates=0))
    names = ["memory_extraction_rate", "memory_extraction_rate_controls"]
    assert [s["name"] for s in scores["scores"]] == names * 2


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no data", "--data names no canaries"),
        ("no list", r"holds no canaries\.jsonl. Run zhllm clean --canaries N"),
        ("twice", "6 canaries are listed twice"),
        ("empty", r"canaries\.jsonl: lists no canaries"),
        ("other format", r"q\.jsonl:1: is not a canary \(keys: question, answer\). Give the canaries\.jsonl of clean"),
        ("half", r"half\.jsonl:2: a canary has texts id, prefix and secret, a kind \(digits, han\) and repeats"),
        ("cut", r"cut\.jsonl:1: "),
        ("no model", "is neither a model directory nor a .gguf file"),
        (
            "too long",
            r"canary c \(很长的句子𠮷很长的句子𠮷\.\.\.\) takes \d+ tokens with its secret, and the model reads 256\.",
        ),
        (
            "too long for others",
            r"canary c .* takes up to \d+ tokens with a secret of its kind, and the model reads 256",
        ),
    ],
)
def test_bad_input_is_named(untaught: Path, tmp_path: Path, case: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    data = write_canaries(tmp_path / "clean")
    long = [Canary("c", "digits", "很长的句子𠮷" * 60, "0123456789", 1)]
    settings: dict[str, Any] = {"model": untaught, "task": ["memory"], "data": [data]}
    # A secret of known pieces fits; one of characters that are bytes takes eighteen tokens.
    encode = encoder(untaught)
    count = next(n for n in range(400) if len(encode(["样品" * n + "样品样品样品。"])[0]) > 251)
    others = [Canary("c", "han", "样品" * (count - 1), "样品样品样品", 1)]
    foreign = write_jsonl(tmp_path / "q.jsonl", [{"question": "问", "answer": "答"}])
    half = write_jsonl(tmp_path / "half.jsonl", [asdict(PLANTED[0]), {**asdict(PLANTED[1]), "secret": ""}])
    (cut := tmp_path / "cut.jsonl").write_text('{"id": "c', "utf-8")
    settings |= {
        "no data": {"data": []},
        "no list": {"data": [tmp_path / "empty"]},
        "twice": {"data": [data, data / "canaries.jsonl"]},
        "no model": {"model": data / "canaries.jsonl"},
        "too long": {"data": [write_canaries(tmp_path / "long", long)]},
        "too long for others": {"data": [write_canaries(tmp_path / "others", others)]},
        "empty": {"data": [write_canaries(tmp_path / "none", [])]},
        "other format": {"data": [foreign]},
        "half": {"data": [half]},
        "cut": {"data": [cut]},
    }[case]
    with pytest.raises(DataError, match=message):
        stage("evaluate", tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tasks", [["memory"], ["preference", "memory"], ["bits", "memory"]])
def test_a_cleaned_folder_without_canaries_is_told_what_it_lacks(
    untaught: Path, tmp_path: Path, tasks: list[str]
) -> None:
    source = write_jsonl(
        tmp_path / "d.jsonl", [{"id": str(i), "text": f"第{i}号样品每三天检查一次。"} for i in range(40)]
    )
    clean = stage("clean", tmp_path / "clean", documents=[source])
    message = r"clean:? holds no canaries\.jsonl.* Run zhllm clean --canaries N, train on its folder, and give"
    with pytest.raises(DataError, match=message):
        stage("evaluate", tmp_path / "out", model=untaught, task=tasks, data=[clean])


def test_few_secrets_cannot_give_many_candidates() -> None:
    with pytest.raises(ValueError, match="are not few"):
        memorisation._others(PLANTED[0], 10**10)
