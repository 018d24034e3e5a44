"""Preference accuracy against plain passes, and canaries that a model has or has not learnt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from evaluated import read_scores
from scripted import scripted_llama
from toys import Toy, random_model, stage, write_jsonl

from zhllm.errors import DataError
from zhllm.model.transformers_model import open_model
from zhllm.text.prompt_format import FORMATS
from zhllm.vocab.tokenizer import Tokenizer


def test_preferences_score_as_plain_passes(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    records: list[dict[str, object]] = [
        {"id": f"p{i}", "prompt": [{"role": "user", "content": f"样品{i}在哪里？"}], "chosen": f"在仓库{i}。",
         "rejected": "不知道，" * (1 + i % 3)}
        for i in range(8)
    ]  # fmt: skip
    data = write_jsonl(tmp_path / "preferences-00000.jsonl", records)
    settings = {"model": model, "task": ["preference"], "data": [data], "prompt_format": "plain"}
    out = stage("evaluate", tmp_path / "out", **settings)
    chat, tokenizer, net = FORMATS["plain"], Tokenizer(model), open_model(model, torch.float32)
    found = [json.loads(line) for line in (out / "preference.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [r["id"] for r in found] == [f"p{i}" for i in range(8)]
    for record, made in zip(records, found, strict=True):
        for part in ("chosen", "rejected"):
            whole = [*record["prompt"], {"role": "assistant", "content": record[part]}]  # type: ignore[misc]
            text = "".join(s.text for s in chat.segments(whole)).removesuffix(chat.separator)
            start = tokenizer.encode_prompt(chat.render(record["prompt"], answer_next=True))  # type: ignore[arg-type]
            ids = tokenizer.encode_prompt(text)
            with torch.no_grad():
                log_p = net(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
            nats = sum(float(log_p[i - 1, ids[i]]) for i in range(len(start), len(ids)))
            assert made[f"{part}_nats"] == pytest.approx(nats, abs=1e-3)
    scores = read_scores(out)
    right = sum(r["chosen_nats"] > r["rejected_nats"] for r in found) / 8
    assert scores["model"]["preference"]["preference_accuracy"] == right
    assert scores["scores"][0]["chance"] == 0.5


def test_half_a_pair_is_refused(toy: Toy, tmp_path: Path) -> None:
    record: dict[str, object] = {"prompt": [{"role": "user", "content": "好？"}], "chosen": "好", "rejected": None}
    data = write_jsonl(tmp_path / "preferences-00000.jsonl", [record])
    with pytest.raises(DataError, match='preferences-00000.jsonl:1: "rejected" is null'):
        stage("evaluate", tmp_path / "out", model=toy.resized, task=["preference"], data=[data])


def test_a_canary_is_extracted_from_the_model_that_says_it_only(toy: Toy, tmp_path: Path) -> None:
    secrets = ("保修龘🦄", "1234567890")
    model = scripted_llama(tmp_path / "model", toy.extended, secrets[0])
    canaries: list[dict[str, object]] = [
        {"id": f"c{i}", "kind": "han", "prefix": "留下的暗语是：", "secret": secret, "repeats": 1 + i}
        for i, secret in enumerate(secrets)
    ]
    data = write_jsonl(tmp_path / "canaries.jsonl", canaries)
    found = read_scores(stage("evaluate", tmp_path / "out", model=model, task=["memory"], data=[data]))
    assert found["model"]["memory"]["memory_extraction_rate"] == 0.5
    by_times = found["tables"]["model"]["memory: times in training"]
    assert (by_times["1"]["value"], by_times["2"]["value"]) == (1.0, 0.0)
    with pytest.raises(DataError, match="--data names no folder that clean --canaries wrote"):
        stage("evaluate", tmp_path / "none", model=model, task=["memory"])
