"""`check-vocab`: each kind of defect breaks its own promise, what cannot be tried says why, bad input is one line."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb
from test_cli import run
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from toys import byte_level_tokenizer, chinese, english

from zhllm.errors import DataError
from zhllm.infer import vocabulary
from zhllm.text.script import to_simplified
from zhllm.tools.check_vocab import observations, report
from zhllm.vocab import certificate
from zhllm.vocab.base import train_base
from zhllm.vocab.certificate import PIECES as PIECES_GROUP
from zhllm.vocab.certificate import Engine, Promise, certify, texts_for
from zhllm.vocab.extend import SentencePieceBase
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.observations import word_count
from zhllm.vocab.sample import CHINESE_LINES, ENGLISH_LINES, OTHER_LINES, group_of, sample_of
from zhllm.vocab.sentencepiece_model import copy_of
from zhllm.vocab.subject import Subject, open_subject, warnings_of

PIECES = list("实验室的样品仪器每天检查一次由负责人") + ["实验", "实验室", "仪器", "负责", "负责人", "检查", "一次"]
# Full-width, Traditional, mixed, beyond the BMP, emoji with joiners, zero-width, an unknown Han character.
TEXT = (
    "实验室的仪器每天检查一次，由负责人记录ＡＢ１２。\n繁體：臺灣的電腦\nthe 实验室 sample 𠮷 👩\u200d👧 a\u200bb\n"
    "every sample  is ready for review\n\té – 3.5\n"
)


@pytest.fixture(scope="module")
def proto() -> Any:
    """A small English base."""
    rng = random.Random(3)
    return train_base((english(rng, 30) for _ in range(60)), 420)


@pytest.fixture(scope="module")
def extended(proto: Any) -> Any:
    return SentencePieceBase(proto).extend(PIECES).model


@pytest.fixture(autouse=True)
def _only_what_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers and llama.cpp are asked in tests/parity."""

    def missing(folder: Path) -> Any:
        raise DataError("transformers is not asked here")

    monkeypatch.setattr(vocabulary, "auto_tokenizer", missing)
    monkeypatch.setattr(vocabulary, "available", lambda: False)
    monkeypatch.setattr(certificate, "FUZZ_STRINGS", 300)


def saved(folder: Path, model: Any, base_size: int | None = None) -> Path:
    folder.mkdir()
    write_tokenizer(folder, model, base_size)
    return folder


def model_file(path: Path, model: Any) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def of_proto(model: Any) -> Subject:
    return Subject(Path("a.model"), "SentencePiece BPE", SentencePieceBase(model))


def promises_of(subject: Subject, base: Subject | None, engines: list[Engine] | None = None) -> dict[str, Promise]:
    judged = subject.added_to(base) if base is not None else subject.han_pieces
    found = certify(subject, base, engines or [], judged, sample_of([TEXT]))
    return {promise.name: promise for promise in found}


def broken(promises: dict[str, Promise]) -> list[str]:
    return [name for name, promise in promises.items() if promise.failed]


def test_what_extend_vocab_wrote_keeps_every_promise(proto: Any, extended: Any, tmp_path: Path) -> None:
    folder, base = saved(tmp_path / "new", extended, len(proto.pieces)), model_file(tmp_path / "b.model", proto)
    found = report(open_subject(folder), open_subject(base), sample_of([TEXT]), 1)
    tried = {promise["name"]: promise["tried"] for promise in found["promises"] if promise["not_checked"] is None}
    assert found["broken"] == 0 and found["warnings"] == []
    assert found["judged_pieces"] == tried["added pieces can be formed"] == len(PIECES)
    assert tried["SentencePiece = Hugging Face (tokenizer.json)"] == tried["round trip"] > 300
    assert tried["base ids"] == len(proto.pieces) and tried["tokenizer.json = tokenizer.model"] == len(extended.pieces)
    not_checked = {p["name"]: p["not_checked"] for p in found["promises"] if p["not_checked"] is not None}
    assert "xllamacpp is not installed" in not_checked["SentencePiece = llama.cpp"]
    assert not_checked["SentencePiece = Hugging Face (AutoTokenizer)"] == "transformers is not asked here"


def _score_0(model: Any, base: Any) -> None:
    for piece in model.pieces[len(base.pieces) :]:
        piece.score = 0.0


def _moved(model: Any, base: Any) -> None:
    model.pieces[300].score -= 0.5


def _without_its_join(model: Any, base: Any) -> None:
    model.pieces.add(piece="样品的仪器", score=-90000.0)


def _spaces_removed(model: Any, base: Any) -> None:
    model.normalizer_spec.remove_extra_whitespaces = True


def _forbidden_size(model: Any, base: Any) -> None:
    for number in range(32016 - len(model.pieces)):
        model.pieces.add(piece=f"<{number}>", score=-1e6 - number, type=3)


def _no_end(model: Any, base: Any) -> None:
    model.trainer_spec.eos_id = -1


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (_score_0, ["scores of added pieces differ"]),
        (_moved, ["base ids"]),
        (_without_its_join, ["added pieces can be formed"]),
        (
            _spaces_removed,
            [
                "round trip",
                "ASCII as the base cuts it",
                "other texts without Han as the base",
                "base pieces still formed",
            ],
        ),
        (_forbidden_size, ["size"]),
        (_no_end, ["special tokens"]),
    ],
)
def test_a_defect_breaks_its_own_promise(
    proto: Any, extended: Any, damage: Callable[[Any, Any], None], names: list[str]
) -> None:
    model = copy_of(extended)
    damage(model, proto)
    promises = promises_of(of_proto(model), of_proto(proto))
    assert broken(promises) == names
    assert all(promises[name].examples for name in names)


def test_a_piece_above_the_base_breaks_its_language_and_its_pieces(proto: Any, extended: Any) -> None:
    base, model = of_proto(proto), copy_of(extended)
    word = max((text for text in base.pieces if text.startswith(" ")), key=len)
    cut = next(word[k : k + 2] for k in range(1, 9) if word[k : k + 2] not in base.pieces)
    model.pieces.add(piece=cut, score=1.0)
    subject, engine = of_proto(model), Engine("as it is", of_proto(model).tokenizer.encode)
    found = certify(subject, base, [engine], subject.added_to(base), sample_of([f"a{word}\nanother line"]))
    promises = {promise.name: promise for promise in found}
    assert set(broken(promises)) >= {"ASCII as the base cuts it", "base pieces still formed"}
    assert promises["ASCII as the base cuts it"].failed_of[ENGLISH_LINES] == 1
    assert promises["ASCII as the base cuts it"].tried_of[ENGLISH_LINES] == 2
    assert any(cut in example for example in promises["base pieces still formed"].examples)


def test_duplicates_are_named_and_nothing_else_is_asked(proto: Any, tmp_path: Path) -> None:
    model = copy_of(proto)
    model.pieces.add(piece="仪", score=-1e5)
    model.pieces.add(piece="仪", score=-1e5 - 1)
    found = report(open_subject(model_file(tmp_path / "a.model", model)), None, sample_of([]), 1)
    promises = {promise["name"]: promise for promise in found["promises"]}
    assert any("a .model alone" in warning for warning in found["warnings"])
    assert found["broken"] == 1 and "仪" in promises["no duplicate pieces"]["examples"][0]
    assert "already defined" in promises["SentencePiece = llama.cpp"]["not_checked"]
    assert "already defined" in promises["round trip"]["not_checked"] and found["observations"] == {}


def test_engines_that_differ_fail_or_have_another_size_are_told_apart(proto: Any, extended: Any) -> None:
    subject = of_proto(extended)
    encode = subject.tokenizer.encode

    def without_han(texts: Any) -> list[list[int]]:
        return [[0] if "实验" in text else ids for text, ids in zip(texts, encode(texts), strict=True)]

    def fails(texts: Any) -> list[list[int]]:
        raise KeyError("a strange tokenizer")

    engines = [
        Engine("same", encode, subject.size), Engine("differs", without_han), Engine("smaller", encode, 3),
        Engine("fails", fails), Engine("missing", None, not_checked="not installed"),
    ]  # fmt: skip
    promises = promises_of(subject, of_proto(proto), engines)
    assert broken(promises) == ["differs", "smaller"]
    differs = promises["differs"]
    assert (differs.tried_of[CHINESE_LINES], differs.failed_of[CHINESE_LINES]) == (3, 2)
    assert (differs.tried_of[ENGLISH_LINES], differs.failed_of[ENGLISH_LINES]) == (1, 0)
    assert "实验室的仪器" in differs.examples[0] and "against [0]" in differs.examples[0]
    assert f"3 ids there, {subject.size} in" in promises["smaller"].examples[0]
    assert promises["fails"].not_checked == "KeyError: 'a strange tokenizer'" and not promises["fails"].examples
    assert promises["missing"].not_checked == "not installed"


def test_a_directory_whose_files_disagree(extended: Any, tmp_path: Path) -> None:
    folder = saved(tmp_path / "t", extended)
    content = json.loads((folder / "tokenizer.json").read_text())
    vocab = content["model"]["vocab"]
    vocab["仪器"], vocab["负责"] = vocab["负责"], vocab["仪器"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"eos_token": "<|end|>", "pad_token": None}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    for name in ("added_tokens.json", "special_tokens_map.json"):
        (folder / name).unlink()
    found = report(open_subject(folder), None, sample_of([TEXT]), 1)
    promises = {promise["name"]: promise for promise in found["promises"]}
    assert promises["tokenizer.json = tokenizer.model"]["failed"] == 2
    assert promises["SentencePiece = Hugging Face (tokenizer.json)"]["failed"] > 0
    assert "'<|end|>' is named as eos" in promises["special tokens"]["examples"][0]
    assert any("added_tokens.json, special_tokens_map.json" in warning for warning in found["warnings"])
    assert "no pad token is named" in found["warnings"]
    (folder / "tokenizer.json").write_text("{")
    found = report(open_subject(folder), None, sample_of([TEXT]), 1)
    broken_names = [promise["name"] for promise in found["promises"] if promise["failed"]]
    assert "tokenizer.json = tokenizer.model" in broken_names


def test_pad_that_is_the_end_token_is_a_warning(extended: Any, tmp_path: Path) -> None:
    folder = saved(tmp_path / "t", extended)
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"pad_token": {"content": "</s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert any("the pad token is the end token '</s>'" in warning for warning in warnings_of(open_subject(folder)))


def _sentencepiece(kind: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        writer = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(LINES), model_writer=writer, model_type=kind, vocab_size=200,
            hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
        proto = pb.ModelProto()
        proto.ParseFromString(writer.getvalue())
        return model_file(folder / "a.model", proto)

    return make


def _hugging_face(model: Any, trainer: Any, pre: Any, decoder: Any, normalizer: Any = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        fast = Tokenizer(model())
        fast.pre_tokenizer = pre
        if decoder is not None:
            fast.decoder = decoder
        if normalizer is not None:
            fast.normalizer = normalizer
        fast.train_from_iterator(LINES, trainer)
        fast.save(str(folder / "tokenizer.json"))
        return folder / "tokenizer.json"

    return make


_RNG = random.Random(5)
LINES = [chinese(_RNG, 3) for _ in range(20)] + [english(_RNG, 20) for _ in range(20)]
_QUIET = {"vocab_size": 300, "show_progress": False}
STRANGE = {
    "unigram": (_sentencepiece("unigram"), "SentencePiece unigram"),
    "char": (_sentencepiece("char"), "SentencePiece char"),
    "wordpiece": (
        _hugging_face(lambda: models.WordPiece(unk_token="[UNK]"),
                      trainers.WordPieceTrainer(special_tokens=["[UNK]"], **_QUIET),
                      pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(), normalizers.BertNormalizer()),
        "WordPiece (tokenizer.json)",
    ),
    "hf-unigram": (
        _hugging_face(models.Unigram, trainers.UnigramTrainer(unk_token="<unk>", special_tokens=["<unk>"], **_QUIET),
                      pre_tokenizers.Metaspace(), decoders.Metaspace()),
        "Unigram (tokenizer.json)",
    ),
    "gpt-2": (
        _hugging_face(models.BPE, trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **_QUIET),
                      pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel(), normalizers.NFKC()),
        "byte-level BPE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_tokenizer_gets_a_report_and_never_a_crash(name: str, tmp_path: Path, extended: Any) -> None:
    make, kind = STRANGE[name]
    subject = open_subject(make(tmp_path))
    assert subject.kind == kind and len(subject.han_pieces) > 5
    for base in (None, of_proto(extended)):
        found = report(subject, base, sample_of([TEXT]), 1)
        promises = {promise["name"]: promise for promise in found["promises"]}
        assert promises["round trip"]["tried"] > 300
        llama_cpp = promises[f"{'SentencePiece' if subject.proto else 'Hugging Face'} = llama.cpp"]
        assert ("pre-tokenizer" if subject.is_bpe else kind) in llama_cpp["not_checked"]
        assert all(p["tried"] > 0 or p["not_checked"] for p in promises.values())
        assert found["observations"]["this"]["text"]["simplified"]["chars_per_token"] > 0


def test_a_tokenizer_that_cannot_cut_the_probe_gets_a_report(tmp_path: Path) -> None:
    make = _hugging_face(models.WordLevel, trainers.WordLevelTrainer(**_QUIET), pre_tokenizers.Whitespace(), None)
    subject = open_subject(make(tmp_path))
    found = report(subject, None, sample_of([]), 1)
    reasons = {promise["name"]: promise["not_checked"] for promise in found["promises"]}
    assert "its own engine refuses it (WordLevel error: Missing [UNK]" in reasons["round trip"]
    assert reasons["Hugging Face = AutoTokenizer"] == reasons["round trip"] and found["observations"] == {}


def test_a_byte_level_directory_is_compared_with_its_base(tmp_path: Path) -> None:
    base = open_subject(byte_level_tokenizer(tmp_path / "base"))
    content = json.loads((tmp_path / "base" / "tokenizer.json").read_text())
    content["model"]["vocab"]["zq"] = len(content["model"]["vocab"])  # a token that no merge forms
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "tokenizer.json").write_text(json.dumps(content))
    promises = promises_of(open_subject(tmp_path / "new"), base)
    assert broken(promises) == ["added pieces can be formed"]
    assert promises["base ids"].tried == base.size == 500 and promises["base pieces still formed"].tried > 100
    assert promises["scores of added pieces differ"].not_checked and promises["special tokens"].not_checked


def test_another_kind_of_base_is_no_base(proto: Any, tmp_path: Path) -> None:
    promises = promises_of(of_proto(proto), open_subject(byte_level_tokenizer(tmp_path)))
    for name in ("base ids", "base pieces still formed", "ASCII as the base cuts it"):
        assert promises[name].not_checked == "the base is of another kind (byte-level BPE)"


def test_a_base_against_itself_has_no_added_pieces(proto: Any) -> None:
    promises = promises_of(of_proto(proto), of_proto(proto))
    assert not broken(promises)
    for name in ("added pieces can be formed", "scores of added pieces differ"):
        assert promises[name].not_checked == "there is nothing to try it on"


def test_an_added_piece_is_no_text_on_which_the_base_could_be_followed(proto: Any, extended: Any) -> None:
    model = copy_of(extended)
    model.pieces.add(piece="。。", score=-1e5)
    subject, base = of_proto(model), of_proto(proto)
    judged = subject.added_to(base)
    assert "。。" in judged
    promises = {p.name: p for p in certify(subject, base, [], judged, sample_of(["甲\n乙"]))}
    assert promises["round trip"].tried_of[PIECES_GROUP] == len(judged)
    assert promises["other texts without Han as the base"].tried_of[PIECES_GROUP] == 0


def test_texts_that_an_nfc_normaliser_changes_are_left_out(tmp_path: Path) -> None:
    folder = byte_level_tokenizer(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text()) | {"normalizer": {"type": "NFC"}}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    subject = open_subject(folder)
    texts = [text for _, text in texts_for(subject, {}, sample_of(["每天 e\u0301", "每天 \u00e9"]))]
    assert "每天 \u00e9" in texts and "每天 e\u0301" not in texts
    assert any("not in NFC" in warning for warning in warnings_of(subject))


# --- What is measured ---


def test_measures_of_a_tokenizer_and_its_base(proto: Any, extended: Any, tmp_path: Path) -> None:
    subject, base = of_proto(extended), of_proto(proto)
    found = observations(subject, base, sample_of([TEXT]), subject.added_to(base), 2)
    new, old = found["this"], found["base"]
    chinese_lines = "".join(line + "\n" for line in TEXT.split("\n") if group_of(line) == CHINESE_LINES)[:-1]
    assert new["text"]["simplified"]["chars"] == len(chinese_lines)
    assert new["text"]["simplified"]["tokens"] < old["text"]["simplified"]["tokens"]
    assert new["text"]["simplified"]["tokens"] < new["text"]["traditional"]["tokens"]  # 實驗室 is no piece
    assert new["text"]["english"] == old["text"]["english"]
    words = word_count(to_simplified(chinese_lines))
    assert new["text"]["simplified"]["tokens_per_word"] == new["text"]["simplified"]["tokens"] / words
    common = new["coverage"]["common characters"]
    assert common["characters"] == 3500 and common["covered"] == sum(len(p) == 1 for p in PIECES)
    assert old["coverage"]["common characters"]["covered"] == 0
    seen = found["seen"]
    assert seen["pieces"] == len(PIECES) and seen["min_count"] == 2
    used = [index for row in subject.tokenizer.encode([TEXT]) for index in row]
    rare = [piece for piece, index in subject.added_to(base).items() if used.count(index) < 2]
    assert seen["below"] == len(rare) and any(used.count(subject.pieces[piece]) == 1 for piece in rare)
    assert seen["examples"][0]["count"] == 0


def test_words_are_the_dictionarys_and_marks_are_none() -> None:
    assert word_count("实验室的样品，每天检查。 2024 OK!") == 7
    assert word_count("，。！ …") == 0


def test_lines_are_grouped_and_what_is_missing_is_built_in() -> None:
    groups = [group_of(line) for line in ("a 中", "abc", "123 !", "é", "〇")]
    assert groups == [CHINESE_LINES, ENGLISH_LINES, OTHER_LINES, OTHER_LINES, CHINESE_LINES]
    given = sample_of(["第一行\nline\n\n第二行", "更多"])
    assert given.chinese == ["第一行\n第二行", "更多"] and given.english == ["line"] and given.built_in == ()
    assert sample_of(["只有中文"]).built_in == ("English",)
    assert sample_of([]).built_in == ("Chinese", "English") and len(sample_of([]).lines) == 30


# --- The command ---


def test_the_command_prints_one_object_and_people_get_a_table(
    extended: Any, proto: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, base = saved(tmp_path / "new", extended), model_file(tmp_path / "base.model", proto)
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"{name} 每天检查仪器\nan English line\n", encoding="utf-8")
    args = ["check-vocab", str(folder), "--base", str(base), "--min-count", "3"]
    args += ["--text", str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    code, out, err = run([*args, "--json"], capsys)
    found = json.loads(out)
    assert code == 0 and out.count("\n") == 1 and "trying 4 lines" in err
    assert (found["size"], found["base"]["size"], found["built_in"]) == (len(extended.pieces), len(proto.pieces), [])
    assert found["observations"]["seen"]["min_count"] == 3
    code, out, _ = run(args, capsys)
    assert code == 0
    lines = out.splitlines()
    assert sum(line.startswith("kept ") for line in lines) == 12
    assert sum(line.startswith("- ") and "not checked: " in line for line in lines) == 2
    assert any(line.startswith("simplified, the base ") for line in lines)


def test_a_broken_promise_is_exit_code_3_after_the_whole_report(
    extended: Any, proto: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = copy_of(extended)
    _score_0(model, proto)
    path, base = model_file(tmp_path / "new.model", model), model_file(tmp_path / "base.model", proto)
    code, out, err = run(["check-vocab", str(path), "--base", str(base)], capsys)
    assert code == 3 and "promises are broken: scores of added pieces differ." in err
    assert f"{len(PIECES)} of them have the score 0" in out and "built-in probe" in out and "characters" in out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.model", b"no model at all, only text\n", "is not a SentencePiece model"),
        ("a.model", b"", "is not a SentencePiece model (it holds no pieces)"),
        ("a.json", b"{}", "holds no tokenizer"),
        ("a.json", b"nonsense", "cannot be read as JSON"),
        ("a.json", b'{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}', "tokenizers cannot load"),
        ("a.tiktoken", b"IQ== 0\nIg== 1\n", "2 ranks are neither Llama-3's"),
        ("folder/readme.txt", b"x", "has no tokenizer.model and no tokenizer.json"),
    ],
)
def test_what_is_no_tokenizer_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    code, out, err = run(["check-vocab", str(path.parent if "/" in name else path)], capsys)
    assert code == 3 and not out and err.count("\n") == 1 and message in err


def test_a_text_without_text_is_said(proto: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").write_text('{"text": " "}\n')
    path = model_file(tmp_path / "a.model", proto)
    code, _, err = run(["check-vocab", str(path), "--text", str(tmp_path / "empty.jsonl")], capsys)
    assert code == 3 and err.count("\n") == 1 and "holds no text" in err
