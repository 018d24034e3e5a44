"""pack: every document once, with its ends; groups and shares; the same bytes however the work is done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toys import CONTENTS, Toy, byte_level_tokenizer, stage, write_jsonl

from zhllm import manifest
from zhllm.errors import ProofError, StageError
from zhllm.page import percent
from zhllm.stage import key_of, load
from zhllm.train.pack import mixture, parts, tasks, tokenise, writer
from zhllm.train.pack.info import read_info
from zhllm.train.pack.mixture import ranks
from zhllm.train.pack.store import IGNORED, TokenSet
from zhllm.vocab.tokenizer import Tokenizer

AWKWARD = [
    *CONTENTS, "第一行\n第二行\n\n\n　　第四行", "\n", " ", "末尾有换行\n", "</s><s>", "<unk>", "𠮷𡃁𠮟", "\ufeff開頭",
    "繁體與简体，ABC１２３。", "\u0000", "a\tb", "é e\u0301", "🏳️‍🌈", "\u200b\u200d",
]  # fmt: skip


def texts_file(path: Path, texts: list[str]) -> Path:
    return write_jsonl(path, [{"text": text} for text in texts])


def lines(name: str, count: int) -> list[str]:
    """Documents that differ, of different lengths."""
    return [f"{name}第{i}号文件，" + "内容" * (i % 7 + 1) + f"。\n第二行{i}" for i in range(count)]


def documents(folder: Path, name: str) -> list[list[int]]:
    """The ids of each document of a set, from the files as they are described."""
    info = read_info(folder)
    flat = np.fromfile(folder / f"{name}.tokens.bin", info.dtype)
    starts = np.fromfile(folder / f"{name}.starts.bin", "<i8")
    return [part.tolist() for part in np.split(flat, starts[1:])]


def texts_of(folder: Path, name: str, tokenizer: Path) -> list[str]:
    decode = Tokenizer(tokenizer).decode
    return [decode(ids[1:-1], keep_special=True) for ids in documents(folder, name)]


def sources_of(folder: Path, name: str) -> list[str]:
    numbers = np.fromfile(folder / f"{name}.sources.bin", "<u2").tolist()
    return [read_info(folder).sources[number] for number in numbers]


def files_of(folder: Path) -> dict[str, str]:
    found = manifest.read(folder)
    assert found is not None
    return found.files


def metrics_of(folder: Path) -> dict[str, Any]:
    found = manifest.read(folder)
    assert found is not None
    return found.metrics


@pytest.fixture
def small_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tasks from little text."""
    monkeypatch.setattr(tasks, "STRETCH_BYTES", 2000)


def parquet(path: Path, texts: list[Any], kind: pa.DataType | None = None, group: int = 20) -> Path:
    pq.write_table(pa.table({"text": pa.array(texts, kind)}), path, row_group_size=group)
    return path


def test_documents_are_whole_with_their_newlines_and_one_end_token(toy: Toy, tmp_path: Path) -> None:
    corpus = texts_file(tmp_path / "a.jsonl", AWKWARD)
    out = stage("pack", tmp_path / "out", corpus=[corpus], tokenizer=toy.extended, seq_len=16)
    tokenizer, held = Tokenizer(toy.extended), documents(out, "train")
    assert texts_of(out, "train", toy.extended) == AWKWARD
    for text, ids in zip(AWKWARD, held, strict=True):
        assert ids == [tokenizer.special_id("bos"), *tokenizer.encode_plain([text])[0], tokenizer.eos_id]
        assert ids.count(tokenizer.eos_id) == 1


def test_a_byte_level_tokenizer_without_bos_has_end_tokens_only(tmp_path: Path) -> None:
    folder = byte_level_tokenizer(tmp_path / "bytes")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["bos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    corpus = texts_file(tmp_path / "a.jsonl", AWKWARD)
    out = stage("pack", tmp_path / "out", corpus=[corpus], tokenizer=folder, seq_len=16)
    tokenizer = Tokenizer(folder)
    assert documents(out, "train") == [[*ids, tokenizer.eos_id] for ids in tokenizer.encode_plain(AWKWARD)]
    assert read_info(out).bos_id is None


@pytest.mark.usefixtures("small_stretches")
def test_any_number_of_workers_and_any_form_of_the_texts_gives_the_same_bytes(toy: Toy, tmp_path: Path) -> None:
    texts = lines("甲", 300)
    forms = {
        "lines": texts_file(tmp_path / "a.jsonl", texts),
        "parquet": parquet(tmp_path / "b.parquet", texts),
        "large": parquet(tmp_path / "c.parquet", texts, pa.large_string(), group=300),
        "dictionary": parquet(tmp_path / "d.parquet", texts, pa.dictionary(pa.int32(), pa.string())),
    }
    found = []
    for name, path in forms.items():
        for workers in (1, 3) if name in ("lines", "parquet") else (1,):
            folder = tmp_path / f"{name}-{workers}"
            settings = {"corpus": [path], "tokenizer": toy.extended, "seq_len": 32, "workers": workers}
            assert len(list(tasks.tasks_of(path, "train", toy.extended, tmp_path / "x"))) > 1 or name == "large"
            found.append(stage("pack", folder, **settings))
    keep = {"train.tokens.bin", "train.starts.bin", "train.sources.bin"}
    first = {name: digest for name, digest in files_of(found[0]).items() if name in keep}
    assert all({k: v for k, v in files_of(folder).items() if k in keep} == first for folder in found[1:])
    assert files_of(found[0]) == files_of(found[1]) and files_of(found[2]) == files_of(found[3])
    assert texts_of(found[0], "train", toy.extended) == texts


def test_groups_have_sources_and_validation_sets_of_their_own(toy: Toy, tmp_path: Path) -> None:
    other = texts_file(tmp_path / "b.jsonl", lines("乙", 20))
    corpus = [f"zh={toy.zh}", f"zh={other}", f"en={toy.en}", toy.zh]
    out = stage("pack", tmp_path / "out", corpus=corpus, tokenizer=toy.extended, seq_len=32)
    info = read_info(out)
    assert info.sources == ("zh", "en", "corpus") and set(info.sets) == {"train", "valid", "valid-zh", "valid-en"}
    held = texts_of(out, "train", toy.extended)
    by_source = {
        name: [t for t, s in zip(held, sources_of(out, "train"), strict=True) if s == name] for name in info.sources
    }
    assert by_source["zh"][-20:] == lines("乙", 20) and by_source["corpus"] == by_source["zh"][:-20]
    assert all(text.isascii() for text in by_source["en"])
    for name, counts in info.sets["train"].sources.items():
        texts = by_source[name]
        ids = [d for d, s in zip(documents(out, "train"), sources_of(out, "train"), strict=True) if s == name]
        assert counts.values() == (
            len(texts), sum(map(len, ids)), sum(map(len, texts)), sum(len(text.encode()) for text in texts)
        )  # fmt: skip
    assert set(sources_of(out, "valid-en")) == {"en"} and info.texts["zh"] != info.texts["corpus"]
    metrics = metrics_of(out)
    assert metrics["train_tokens_en"] == info.sets["train"].sources["en"].tokens
    assert metrics["valid_en_docs"] == info.sets["valid-en"].docs


def test_labels_tell_their_source(toy: Toy, tmp_path: Path) -> None:
    corpus = [
        f"a={texts_file(tmp_path / 'a.jsonl', lines('甲', 9))}",
        f"b={texts_file(tmp_path / 'b.jsonl', ['乙', '丙'])}",
    ]
    out = stage("pack", tmp_path / "out", corpus=corpus, tokenizer=toy.extended, seq_len=8)
    rows = TokenSet(out, "train", read_info(out))
    batch = rows.batch(range(len(rows)))
    assert batch.sources is not None
    learnt = batch.labels != IGNORED
    wanted = [n for n, ids in zip(sources_of(out, "train"), documents(out, "train"), strict=True) for _ in ids[1:]]
    assert ["ab"[n] for n in batch.sources[learnt].tolist()] == wanted
    alone = stage("pack", tmp_path / "alone", corpus=[tmp_path / "a.jsonl"], tokenizer=toy.extended, seq_len=8)
    assert TokenSet(alone, "train", read_info(alone)).batch([0]).sources is None


def test_an_existing_path_with_an_equals_sign_is_no_name(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts_file(tmp_path / "lr=1.jsonl", ["一"])
    out = stage("pack", tmp_path / "out", corpus=["lr=1.jsonl"], tokenizer=toy.extended)
    named = stage("pack", tmp_path / "named", corpus=["zh=lr=1.jsonl"], tokenizer=toy.extended)
    assert read_info(out).sources == ("corpus",) and read_info(named).sources == ("zh",)


def test_names_texts_tokenizer_and_length_are_in_the_key_but_workers_are_not(toy: Toy, tmp_path: Path) -> None:
    path = texts_file(tmp_path / "a.jsonl", ["一"])
    pack, base = load("pack"), {"corpus": [path], "tokenizer": toy.extended, "seq_len": 32}

    def key(**changes: object) -> dict[str, Any]:
        return key_of(pack, pack.config.model_validate({**base, **changes}))

    first = key()
    assert key(workers=4) == first and key(corpus=[toy.zh / ".." / "x" / ".." / path]) == first
    others = [
        {"corpus": [f"zh={path}"]},
        {"tokenizer": toy.tokenizer},
        {"seq_len": 64},
        {"seed": 1},
        {"corpus": [path] * 2},
    ]
    assert all(key(**change) != first for change in others)
    texts_file(path, ["二"])
    assert key() != first


# --- Shares. ---


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """Two groups: of 300 and of 100 documents of about one length."""
    return [
        f"zh={texts_file(tmp_path / 'zh.jsonl', lines('甲', 300))}",
        f"en={texts_file(tmp_path / 'en.jsonl', lines('乙', 100))}",
    ]


def longest(folder: Path) -> int:
    return max(map(len, documents(folder, "train")))


@pytest.mark.usefixtures("small_stretches")
@pytest.mark.parametrize(("mix", "repeats"), [("zh=0.9,en=0.1", 1), ("zh=0.5,en=0.5", 4), ("en=0.4,zh=0.6", 2)])
def test_training_tokens_stand_in_the_shares_and_the_first_group_whole(
    toy: Toy, tmp_path: Path, two: list[str], mix: str, repeats: int, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"corpus": two, "mix": mix, "max_repeats": repeats, "tokenizer": toy.extended, "seq_len": 32}
    out = stage("pack", tmp_path / "out", **settings)
    shares = {name: float(share) for name, share in (item.split("=") for item in mix.split(","))}
    found, all_of = read_info(out).sets["train"], {"zh": lines("甲", 300), "en": lines("乙", 100)}
    for name, share in shares.items():
        assert abs(found.sources[name].tokens - share * found.tokens) <= longest(out), "the last document stands whole"
    held = texts_of(out, "train", toy.extended)
    first, second = shares
    of = {n: [t for t, s in zip(held, sources_of(out, "train"), strict=True) if s == n] for n in shares}
    assert of[first] == all_of[first]
    times = {text: of[second].count(text) for text in all_of[second]}
    assert max(times.values()) - min(times.values()) <= 1 and max(times.values()) <= repeats
    metrics, said = metrics_of(out), capsys.readouterr().err
    total = len(all_of[second])
    assert metrics["left_out_docs"] == max(0, total - len(of[second]))
    assert metrics["repeated_docs"] == max(0, len(of[second]) - total)
    wanted = "read again" if len(of[second]) > total else "left out"
    assert said.count(f"{second}: ") == 1 and wanted in said
    tokens = {
        name: sum(map(len, Tokenizer(toy.extended).encode_plain(texts))) + 2 * len(texts)
        for name, texts in all_of.items()
    }
    assert found.sources[second].tokens == tokens[second] - metrics["left_out_tokens"] + metrics["repeated_tokens"]


@pytest.mark.usefixtures("small_stretches")
def test_the_choice_is_the_seeds_alone(toy: Toy, tmp_path: Path, two: list[str]) -> None:
    def chosen(name: str, **changes: object) -> list[str]:
        settings = {"corpus": two, "mix": "zh=0.9,en=0.1", "tokenizer": toy.extended, "seq_len": 32, **changes}
        out = stage("pack", tmp_path / name, **settings)
        return [
            t for t, s in zip(texts_of(out, "train", toy.extended), sources_of(out, "train"), strict=True) if s == "en"
        ]

    first = chosen("one")
    assert chosen("workers", workers=3) == first
    other = chosen("seed", seed=1)
    assert other != first and abs(len(other) - len(first)) < 5
    more = chosen("more", mix="zh=0.8,en=0.2")
    assert set(first) < set(more), "a larger share adds documents and takes none away"
    where = [int(text.split("第")[1].split("号")[0]) for text in first]
    assert 30 < np.mean(where) < 70 and where == sorted(where), "from all over the group, in its order"


def test_replay_is_a_share_of_the_characters(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, replay = (
        texts_file(tmp_path / "a.jsonl", lines("甲", 300)),
        texts_file(tmp_path / "b.jsonl", lines("乙", 100)),
    )
    settings = {"corpus": [corpus], "replay": [replay], "tokenizer": toy.extended, "seq_len": 32}
    out = stage("pack", tmp_path / "out", replay_share=0.2, **settings)
    train = read_info(out).sets["train"]
    assert read_info(out).sources == ("corpus", "replay")
    assert abs(train.sources["replay"].chars - 0.2 * train.chars) < 60
    assert "replay: " in capsys.readouterr().err
    whole = read_info(stage("pack", tmp_path / "whole", replay_share=0.9, **settings)).sets["train"]
    assert whole.sources["replay"].docs == 100
    assert "replay: its text makes 23.8% of the characters, not 90.0%; with a larger" in capsys.readouterr().err


def test_a_mix_may_give_replay_its_share_of_the_tokens(toy: Toy, tmp_path: Path) -> None:
    corpus = texts_file(tmp_path / "a.jsonl", lines("甲", 100))
    replay = texts_file(tmp_path / "b.jsonl", lines("乙", 100))
    settings = {"corpus": [corpus], "replay": [replay], "mix": "corpus=0.7,replay=0.3", "tokenizer": toy.extended}
    out = stage("pack", tmp_path / "out", **settings)
    train = read_info(out).sets["train"]
    assert train.sources["corpus"].docs == 100
    assert abs(train.sources["replay"].tokens - 0.3 * train.tokens) <= longest(out)


def test_ranks_are_spread_evenly_and_of_the_source() -> None:
    found = [ranks(seed, source, 0, 20_000) for seed in (0, 1) for source in (0, 1)]
    for one in found:
        counts = np.bincount((one >> np.uint64(60)).astype(int), minlength=16)
        assert ((counts - 1250) ** 2 / 1250).sum() < 37.7  # chi-square, 15 degrees of freedom, p = 0.001
    assert len({one.tobytes() for one in found}) == 4
    assert (ranks(0, 0, 700, 50) == found[0][700:750]).all()


@pytest.mark.parametrize("bits", [1, 3, 16])
@pytest.mark.parametrize("unit", ["tokens", "chars"])
def test_the_chosen_are_those_that_sorting_all_would_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int, unit: Literal["tokens", "chars"]
) -> None:
    monkeypatch.setattr(mixture, "BIN_BITS", bits)
    monkeypatch.setattr(mixture, "BINS", 1 << bits)
    rng = np.random.default_rng(3)
    lengths, chars = (rng.integers(1, 90, 500).astype(np.int32) for _ in range(2))
    paths = [tmp_path / f"{n}.arrow" for n in range(3)]
    for path, places in zip(paths, np.split(np.arange(500), [120, 300]), strict=True):
        ids = np.zeros(int(lengths[places].sum()), np.uint16)
        parts.write_part(path, ids, lengths[places], chars[places], chars[places], parts.PartStats("", 0, 0))
    weights = lengths if unit == "tokens" else chars
    order = np.argsort(ranks(5, 2, 0, 500))
    sums = np.cumsum(weights[order])
    for rest in (1, 700, int(sums[249]), int(sums[249]) + 1, int(sums[-1]) - 1):
        last = order[np.searchsorted(sums, rest)]
        assert mixture.highest_rank(paths, mixture.Portion(0, rest, unit), 5, 2) == int(ranks(5, 2, 0, 500)[last])
    assert mixture.highest_rank(paths, mixture.Portion(1, 0, unit), 5, 2) == -1


# --- Interrupted, and on a full disk. ---

KILLED = """
import sys, time
from zhllm.train.pack import tasks, tokenise
tasks.STRETCH_BYTES = 2000
real = tokenise.tokenise
tokenise.tokenise = lambda task: (time.sleep(0.05), real(task))[1]
from zhllm.cli import main
main(sys.argv[1:])
"""


@pytest.mark.usefixtures("small_stretches")
def test_killed_in_the_middle_it_goes_on_where_it_was(
    toy: Toy, tmp_path: Path, two: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"corpus": two, "mix": "zh=0.9,en=0.1", "tokenizer": toy.extended, "seq_len": 32}
    undisturbed = stage("pack", tmp_path / "undisturbed", **settings)
    out = tmp_path / "out"
    words = ["pack", "--corpus", *two, "--mix", "zh=0.9,en=0.1", "--tokenizer", str(toy.extended), "--seq-len", "32"]
    with subprocess.Popen([sys.executable, "-c", KILLED, *words, "-o", str(out)], stderr=subprocess.PIPE) as running:
        while len(list(manifest.checkpoints_of(out).glob("*.arrow"))) < 4:
            assert running.poll() is None, running.stderr and running.stderr.read().decode()
            time.sleep(0.002)
        running.kill()
    assert running.returncode == -signal.SIGKILL and not out.exists()
    done = {path: path.stat().st_ino for path in manifest.checkpoints_of(out).glob("*.arrow")}
    cut = max(done)
    cut.write_bytes(cut.read_bytes()[:-9])  # as after a power failure
    made: list[Path] = []
    real = tokenise.tokenise
    monkeypatch.setattr(tokenise, "tokenise", lambda task: (made.append(task.part), real(task))[1])
    stage("pack", out, **settings)
    assert files_of(out) == files_of(undisturbed) and metrics_of(out) == metrics_of(undisturbed)
    assert cut in made and not set(made) & (set(done) - {cut})
    assert f"{len(done) - 1} of {len(done) - 1 + len(made)} parts were tokenised before" in capsys.readouterr().err
    assert not manifest.checkpoints_of(out).exists()


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["parts", "sets"])
def test_a_full_disk_is_one_line_and_what_was_done_stays(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    corpus, out = texts_file(tmp_path / "a.jsonl", lines("甲", 30)), tmp_path / "out"
    settings = {"corpus": [corpus], "tokenizer": toy.extended, "seq_len": 32}
    with (
        monkeypatch.context() as patched,
        pytest.raises(StageError, match=r"(the disk is full|No space left)") as failed,
    ):
        if where == "parts":
            patched.setattr(parts.pa.ipc, "new_file", full)
        else:
            patched.setattr(writer.SetWriter, "_write", full)
        stage("pack", out, **settings)
    assert "\n" not in str(failed.value) and "run the same command again" in str(failed.value)
    assert len(list(manifest.checkpoints_of(out).glob("*.arrow"))) == (where == "sets")
    assert not list(manifest.checkpoints_of(out).glob("*.partial"))
    assert texts_of(stage("pack", out, **settings), "train", toy.extended) == lines("甲", 30)


# --- Proofs. ---


def test_ids_outside_the_vocabulary_or_an_end_token_in_a_text_are_no_proof(toy: Toy) -> None:
    tokenizer = Tokenizer(toy.extended)
    flat, lengths = tokenise.with_ends(tokenizer, [np.array([5, 6], np.int32), np.array([], np.int32)])
    assert flat.tolist() == [1, 5, 6, 2, 1, 2] and lengths.tolist() == [4, 2]
    tokenise.prove_ids(tokenizer, flat, 2)
    with pytest.raises(ProofError, match="2 documents have 3 end tokens"):
        tokenise.prove_ids(tokenizer, np.append(flat, np.int32(2)), 2)
    with pytest.raises(ProofError, match=r"gave the ids 1 to 571, its vocabulary has 571"):
        tokenise.prove_ids(tokenizer, np.append(flat, np.int32(571)), 2)


@pytest.mark.parametrize("text", ["短的文本，▁有下划线。", "很长的文本。\n" * 3000, "👩‍👩‍👧‍👦𠮷" * 3000])
def test_a_text_that_does_not_come_back_is_no_proof(toy: Toy, text: str) -> None:
    tokenizer = Tokenizer(toy.extended)
    (ids,) = tokenizer.encode_bulk([text])
    flat, _ = tokenise.with_ends(tokenizer, [ids])
    tokenise.prove_text(tokenizer, text, flat)
    wrong = flat.copy()
    wrong[3] = wrong[3] + 1
    with pytest.raises(ProofError, match="a text does not come back from its ids"):
        tokenise.prove_text(tokenizer, text, wrong)


def test_what_is_on_disk_is_read_again(toy: Toy, tmp_path: Path) -> None:
    out = stage(
        "pack", tmp_path / "out", corpus=[texts_file(tmp_path / "a.jsonl", lines("甲", 9))], tokenizer=toy.extended
    )
    info = read_info(out)
    writer.prove_set(out, "train", info)
    path = out / "train.tokens.bin"
    sound = np.fromfile(path, info.dtype)
    for place, value in ((3, info.vocab_size), (5, info.eos_id), (len(sound) - 1, 7)):
        wrong = sound.copy()
        wrong[place] = value
        path.write_bytes(wrong.tobytes())
        with pytest.raises(ProofError, match="on disk are not those that were made"):
            writer.prove_set(out, "train", info)
    path.write_bytes(sound[:-1].tobytes())
    with pytest.raises(ProofError, match="tokens of 9 documents were made, on disk are"):
        writer.prove_set(out, "train", info)


def test_a_document_that_was_lost_is_no_proof(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = texts_file(tmp_path / "a.jsonl", lines("甲", 9))
    monkeypatch.setattr(tokenise.Task, "read", lambda task: task.texts[1:])
    with pytest.raises(ProofError, match=r"corpus: 9 documents were read; 8 have tokens and 0 are empty\."):
        stage("pack", tmp_path / "out", corpus=[corpus], tokenizer=toy.extended)


def test_empty_texts_are_counted(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = parquet(tmp_path / "a.parquet", ["一", "", "二", ""])
    out = stage("pack", tmp_path / "out", corpus=[corpus], tokenizer=toy.extended)
    assert metrics_of(out)["empty_docs"] == 2 and texts_of(out, "train", toy.extended) == ["一", "二"]
    assert "2 documents are empty and are left out" in capsys.readouterr().err


# --- The report. ---


def test_the_report_tells_sources_lengths_and_efficiency(toy: Toy, tmp_path: Path, two: list[str]) -> None:
    settings = {"corpus": two, "mix": "zh=0.9,en=0.1", "tokenizer": toy.extended, "seq_len": 32}
    out = stage("pack", tmp_path / "out", **settings)
    found, metrics, info = json.loads((out / "report.json").read_text()), metrics_of(out), read_info(out)
    rows = TokenSet(out, "train", info)
    learnt = sum(int((rows.row(i)[1] != IGNORED).sum()) for i in range(len(rows)))
    assert metrics["rows"] == len(rows) and metrics["packing_efficiency"] == learnt / (len(rows) * 32)
    for name in ("zh", "en"):
        one = found["sets"]["train"][name]
        lengths = [len(d) for d, s in zip(documents(out, "train"), sources_of(out, "train"), strict=True) if s == name]
        assert one["lengths"] == [sum(2**n <= length < 2 ** (n + 1) for length in lengths) for n in range(32)]
        assert one["available"]["docs"] - one["left_out"]["docs"] == one["written"]["docs"] == len(lengths)
    page = (out / "report.html").read_text()
    share = percent(info.sets["train"].sources["zh"].tokens / info.sets["train"].tokens)
    titles = ("Training tokens by source", "Characters per token by source", "Lengths of training documents")
    for words in (*titles, f"{metrics['train_tokens']:,}", f"zh ({share})"):
        assert words in page
