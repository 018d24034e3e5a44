"""Word borders: rjieba, which train-vocab uses, against jieba itself."""

from __future__ import annotations

import gzip
import json
import logging
from itertools import islice
from pathlib import Path

import jieba
import pytest

from zhllm.text.han import han_runs
from zhllm.vocab.words import jieba_words


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> jieba.Tokenizer:
    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    tokenizer.tmp_dir = str(tmp_path_factory.mktemp("jieba"))
    return tokenizer


def sample(data: Path) -> list[str]:
    """Distinct Han runs of every corpus, 400 each."""
    runs: list[str] = []
    for path in sorted((data / "corpus").glob("*_zh.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            texts = (json.loads(line)["text"] for line in islice(file, 0, None, 20))
            runs += list(dict.fromkeys(run for text in islice(texts, 12) for run in han_runs(text)))[:400]
    return runs


def test_words_are_those_of_jieba(real_data: Path, reference: jieba.Tokenizer) -> None:
    runs = [*sample(real_data), "𠮷野家々〇二〇二六年", "㐂", "臺灣與香港的電腦軟體", "的" * 50]
    assert len(runs) > 2000
    cut = jieba_words()
    for run in runs:
        assert cut([run]) == list(reference.cut(run, HMM=False)), run
    assert cut(runs) == [word for run in runs for word in cut([run])], "runs cut together are cut alike"


def test_terms_are_words_as_in_jieba(reference: jieba.Tokenizer) -> None:
    terms = ["测温仪校准", "附条件不起诉", "青霉素钠"]
    for term in terms:
        reference.add_word(term)
    text = "测温仪校准证书与附条件不起诉决定书及注射用青霉素钠"
    assert jieba_words(terms)([text]) == list(reference.cut(text, HMM=False))
    assert set(terms) <= set(jieba_words(terms)([text])) and not set(terms) & set(jieba_words()([text]))
