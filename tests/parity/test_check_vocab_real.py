"""check-vocab and advise-vocab on the real tokenizers: known defects are found, sound tokenizers pass."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from toys import stage, write_jsonl

from zhllm.cli import main
from zhllm.infer import llamacpp, vocabulary
from zhllm.infer.vocabulary import llama_cpp_encoder
from zhllm.tools.check_vocab import report
from zhllm.vocab.byte_level import ByteLevelBase
from zhllm.vocab.byte_level_files import write_byte_level
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.sample import sample_of
from zhllm.vocab.sentencepiece_model import copy_of, load, processor, read_proto
from zhllm.vocab.subject import open_subject

pytestmark = pytest.mark.slow
needs_llama_cpp = pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")

AUTO, LLAMA_CPP = "SentencePiece = Hugging Face (AutoTokenizer)", "SentencePiece = llama.cpp"
Promises = dict[str, dict[str, Any]]


def rows(path: Path) -> list[str]:
    data = path.read_bytes()
    lines = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()
    return [json.loads(line)["text"] for line in lines]


@pytest.fixture(scope="module")
def texts(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Statutes (Chinese without runs of spaces) and the English of C4, 0.3 MB."""
    folder, corpus = tmp_path_factory.mktemp("texts"), real_data / "corpus"
    zh = [{"text": text} for text in rows(corpus / "laws_zh.jsonl.gz")[::40]]
    en = [{"text": text} for text in rows(corpus / "en_c4_300.jsonl")[::4]]
    return [write_jsonl(folder / "zh.jsonl", zh), write_jsonl(folder / "en.jsonl", en)]


@pytest.fixture(scope="module")
def pieces(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hundred pieces learnt from other statutes."""
    folder = tmp_path_factory.mktemp("pieces")
    laws = [{"text": text} for text in rows(real_data / "corpus" / "laws_zh.jsonl.gz")[1::24]]
    corpus = write_jsonl(folder / "laws.jsonl", laws)
    return stage("train-vocab", folder / "pieces", corpus=[corpus], size=900, characters=500)


def tool(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a tool."""
    with pytest.raises(SystemExit) as left:
        main([*map(str, words), "--json"])
    return int(left.value.code or 0), json.loads(capsys.readouterr().out)


def check(capsys: pytest.CaptureFixture[str], path: Path, *options: object) -> tuple[int, dict[str, Any], Promises]:
    """Exit code, the whole certificate, its promises by name."""
    code, found = tool(capsys, "check-vocab", path, *options)
    return code, found, {promise["name"]: promise for promise in found["promises"]}


def share(promise: dict[str, Any], group: str) -> float:
    counts = promise["by_text"][group]
    return float(counts["failed"] / counts["tried"])


def broken(promises: Promises) -> list[str]:
    return [name for name, promise in promises.items() if promise["failed"]]


@needs_llama_cpp
def test_the_defects_of_chinese_llama_2_are_found(
    real_data: Path, texts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = real_data / "tokenizers"
    options = ["--base", folder / "llama2.model", "--text", *texts]
    code, found, promises = check(capsys, folder / "chinese_llama2_55296.model", *options)
    dead, still = "added pieces can be formed", "base pieces still formed"
    assert code == 3 and found["judged_pieces"] == 23_296
    assert broken(promises) == [AUTO, still, dead, "scores of added pieces differ"]
    # All added pieces have the score 0; transformers 5 orders their joins by id, SentencePiece by place.
    assert promises["scores of added pieces differ"]["failed"] == 23_296
    assert share(promises[AUTO], "Chinese lines") > 0.1 and share(promises[AUTO], "English lines") == 0
    # <pad>, an ordinary piece there, is the 657th.
    assert promises[dead]["failed"] == 657 and "<pad>" in promises[dead]["examples"][0]
    assert promises[still]["failed"] == 1 and "________________" in promises[still]["examples"][0]
    assert promises[LLAMA_CPP]["tried"] > 25_000
    zh = {key: found["observations"][key]["text"]["simplified"] for key in ("this", "base")}
    assert zh["this"]["chars_per_token"] > 2 * zh["base"]["chars_per_token"]


@needs_llama_cpp
def test_the_defects_of_the_classic_merge_are_found(
    real_data: Path, texts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chinese-LLaMA-1's recipe: every piece of a unigram model that Llama-2 lacks appended with score 0."""
    folder = real_data / "tokenizers"
    merged = copy_of(load(folder / "llama2.model"))
    known = {p.piece for p in merged.pieces}
    for piece in read_proto(folder / "chinese_sp_20k.model").pieces:
        if piece.piece not in known:
            merged.pieces.add(piece=piece.piece, score=0.0)
    assert len(merged.pieces) == 49_953
    (tmp_path / "classic.model").write_bytes(merged.SerializeToString())
    options = ["--base", folder / "llama2.model", "--text", *texts]
    code, _, promises = check(capsys, tmp_path / "classic.model", *options)
    assert code == 3
    assert promises["scores of added pieces differ"]["failed"] == 17_953
    assert promises["base pieces still formed"]["failed"] == 194
    assert promises["added pieces can be formed"]["failed"] == 345
    # C4's lines are paragraphs, so most of them have some word that the pieces above all others break.
    assert 0.4 < share(promises["ASCII as the base cuts it"], "English lines") < 0.6
    assert share(promises[AUTO], "Chinese lines") > 0.25 and share(promises[AUTO], "English lines") > 0.25
    assert not promises[LLAMA_CPP]["failed"] and not promises["base ids"]["failed"]


@needs_llama_cpp
def test_llama_cpp_reads_a_bare_model_file(real_data: Path) -> None:
    file = real_data / "tokenizers" / "chinese_llama2_55296.model"
    texts = ["人工智能  ▁与 English", "\n\t𠮷野家 👩\u200d👧", ""]
    with llama_cpp_encoder(file) as encode:
        assert encode(texts) == processor(load(file)).encode(texts)


@needs_llama_cpp
def test_llama_2_alone_differs_in_transformers_around_spaces_only(
    real_data: Path, texts: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """transformers 5 ranks by id: `▁▁` (id 259, score -1e9) joins first there, and last in SentencePiece."""
    code, found, promises = check(capsys, real_data / "tokenizers" / "llama2.model", "--text", *texts)
    assert code == 3 and broken(promises) == [AUTO]
    assert promises[AUTO]["by_text"]["Chinese lines"]["failed"] == 0
    assert all("  " in e or e.startswith(("' ", '" ')) for e in promises[AUTO]["examples"])
    assert any("a .model alone" in warning for warning in found["warnings"])


@needs_llama_cpp
def test_llama_2_and_what_extend_vocab_makes_of_it_pass(
    real_data: Path, texts: list[Path], pieces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "llama2"
    base.mkdir()
    write_tokenizer(base, load(real_data / "tokenizers" / "llama2.model"))
    extended = stage("extend-vocab", tmp_path / "extended", base=base, pieces=[pieces], max_pieces=400)
    for path, options in ((base, ("--text", texts[1])), (extended, ("--base", base, "--text", *texts))):
        code, found, promises = check(capsys, path, *options)
        assert code == 0 and found["broken"] == 0
        assert all(promise["not_checked"] is None for promise in promises.values())
    assert found["judged_pieces"] == 400 and found["warnings"] == []


@needs_llama_cpp
def test_llama_3_and_what_extend_vocab_makes_of_it_pass(
    real_data: Path, pieces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = open_subject(real_data / "tokenizers" / "llama3.tiktoken")
    learnt = [line.split("\t")[0] for line in (pieces / "pieces.tsv").read_text().splitlines()[1:]]
    assert isinstance(base.tokenizer, ByteLevelBase)
    extension = base.tokenizer.extend(learnt, "<|finetune_right_pad_id|>", (), 200)
    write_byte_level(tmp_path, extension.content, extension.config, base.size, None)
    sample = sample_of([])

    found = report(open_subject(tmp_path), base, sample, 1)
    promises = {promise["name"]: promise for promise in found["promises"]}
    assert found["broken"] == 0 and found["judged_pieces"] == 200, broken(promises)
    for engine in ("AutoTokenizer", "tiktoken", "llama.cpp"):
        assert promises[f"Hugging Face = {engine}"]["tried"] > 5000

    # llama.cpp was asked about all of the base's tokens and merges above, and takes the longest.
    monkeypatch.setattr(vocabulary, "available", lambda: False)
    found = report(base, None, sample, 1)
    tried = {promise["name"] for promise in found["promises"] if promise["tried"] > 5000}
    assert found["broken"] == 0 and tried == {"no duplicate pieces", "Hugging Face = tiktoken", "round trip"}


def test_a_unigram_model_gets_a_report(real_data: Path, texts: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, found, promises = check(capsys, real_data / "tokenizers" / "chinese_sp_20k.model", "--text", texts[0])
    assert code == 3 and found["kind"] == "SentencePiece unigram" and found["size"] == 20_000
    assert "unigram" in promises[AUTO]["not_checked"] and "unigram" in promises[LLAMA_CPP]["not_checked"]
    assert share(promises["round trip"], "Chinese lines") > 0.3  # nmt_nfkc turns ， into ,
    coverage = found["observations"]["this"]["coverage"]
    assert coverage["common characters"]["covered"] == 3499 and coverage["standard characters"]["covered"] == 5686


def test_the_advice_is_to_extend_llama_2_and_not_llama_3(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Manuals, statutes, poetry and textbooks, half a million characters, for a pretraining on a billion tokens."""
    folder, corpus = real_data / "tokenizers", real_data / "corpus"
    every = {"laws": 48, "tidb_docs": 120, "paddle_docs": 96, "oiwiki": 48, "poetry": 24, "rust_book": 12}
    texts = [text for name, step in every.items() for text in rows(corpus / f"{name}_zh.jsonl.gz")[::step]]
    mixed = write_jsonl(tmp_path / "mixed.jsonl", [{"text": text} for text in texts])
    options = ("--corpus", mixed, "--sizes", 3000, "--budget-tokens", 10**9)
    old = tool(capsys, "advise-vocab", "--base", folder / "llama2.model", *options)[1]
    modern = tool(capsys, "advise-vocab", "--base", folder / "llama3.tiktoken", *options)[1]
    assert old["verdict"] == "extend with 3000" and modern["verdict"] == "do not extend"
    assert "less than the 30%" in modern["reasons"][0]
