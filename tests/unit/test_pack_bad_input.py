"""pack refuses bad input, and training a damaged packed folder, in one clear line each."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toys import Toy, stage, write_jsonl

from zhllm.cli import main
from zhllm.errors import DataError
from zhllm.train.pack.info import read_info
from zhllm.train.pack.store import TokenSet


def parquet(path: Path, texts: list[Any], kind: pa.DataType | None = None) -> Path:
    pq.write_table(pa.table({"text": pa.array(texts, kind)}), path)
    return path


STARTS = np.array([0, 9, 5], "<i8").tobytes()
DAMAGES = {
    "cut tokens": ("train.tokens.bin", lambda d: d[:-1], r"train\.tokens\.bin: holds [\d,.]+ tokens, pack\.json says"),
    "cut starts": ("train.starts.bin", lambda d: d[:-8], r"train\.starts\.bin: holds 2 documents, pack\.json says 3"),
    "cut sources": ("train.sources.bin", lambda d: b"", r"train\.sources\.bin: holds 0 documents, pack\.json says 3"),
    "no tokens": ("train.tokens.bin", None, r"train\.tokens\.bin: cannot be read \(No such file"),
    "starts out of order": ("train.starts.bin", lambda d: STARTS, r"documents do not start one behind the other"),
    "starts not at 0": ("train.starts.bin", lambda d: b"\1" + d[1:], r"documents do not start one behind the other"),
    "ids too large": ("train.tokens.bin", lambda d: b"\xff" * len(d), r"row 0 holds the id 65535, the vocabulary has"),
    "no JSON": ("pack.json", lambda d: d[:-9], r"pack\.json: cannot be read as JSON"),
    "another version": ("pack.json", lambda d: d.replace(b'"format": 2', b'"format": 7'),
                        r"by another version of zhllm \(format 7, this one reads 2\)\. Run zhllm pack again"),
    "the first version": ("pack.json", lambda d: json.dumps({"sets": {}}).encode(), r"another version .*format 1"),
    "a key that is not known": ("pack.json", lambda d: d.replace(b'"pad_id"', b'"pid_ad"'), r"pack\.json: is damaged"),
    "a list": ("pack.json", lambda d: b"[]", r"pack\.json: holds list, not an object"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_set_is_refused_in_a_line(toy: Toy, tmp_path: Path, name: str, change: Any, message: str) -> None:
    corpus = [
        f"a={small(tmp_path, 'a.jsonl', '一二三', '四')}",
        f"b={small(tmp_path, 'b.jsonl', '五')}",
    ]
    out = stage("pack", tmp_path / "out", corpus=corpus, tokenizer=toy.extended, seq_len=4)
    path = out / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message) as found:
        rows = TokenSet(out, "train", read_info(out))
        rows.batch(range(len(rows)))
    assert "\n" not in str(found.value)


def no_eos(toy: Toy, folder: Path) -> Path:
    shutil.copytree(toy.extended, folder / "no-eos", ignore=shutil.ignore_patterns("manifest.json"))
    path = folder / "no-eos" / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "eos_token"}))
    return folder / "no-eos"


def damaged(toy: Toy, folder: Path, name: str, content: str) -> Path:
    shutil.copytree(toy.extended, folder / "broken", ignore=shutil.ignore_patterns("manifest.json", "tokenizer.model"))
    (folder / "broken" / name).write_text(content)
    return folder / "broken"


def small(folder: Path, name: str = "a.jsonl", *texts: Any) -> Path:
    return write_jsonl(folder / name, [{"text": text} for text in texts or ("一",)])


REFUSED = {
    "no documents": (
        lambda t, f: ["--corpus", parquet(f / "a.parquet", [], pa.string())],
        3,
        r"a\.parquet: no documents to pack\.",
    ),
    "only empty texts": (
        lambda t, f: ["--corpus", small(f, "a.jsonl", "", "")],
        3,
        r"no documents to pack \(2 are empty\)",
    ),
    "a group without documents": (
        lambda t, f: ["--corpus", f"zh={small(f)}", f"en={parquet(f / 'b.parquet', [], pa.string())}"],
        3,
        r"b\.parquet: no documents to pack",
    ),
    "a path that is not there": (
        lambda t, f: ["--corpus", "zh=nowhere"],
        2,
        r"--corpus nowhere: there is no such file",
    ),
    "no end token": (
        lambda t, f: ["--corpus", small(f), "--tokenizer", no_eos(t, f)],
        3,
        r"no-eos: tokenizer_config\.json names no eos_token",
    ),
    **{
        f"a tokenizer with {name}": (
            lambda t, f, file=file, data=data: ["--corpus", small(f), "--tokenizer", damaged(t, f, file, data)],
            3,
            message,
        )
        for name, file, data, message in (
            (
                "a tokenizer.json of something else",
                "tokenizer.json",
                '{"model": null}',
                r"broken/tokenizer\.json: cannot be read as a tokenizer \(data did not match",
            ),
            (
                "an empty tokenizer.json",
                "tokenizer.json",
                "",
                r"broken/tokenizer\.json: cannot be read as a tokenizer \(",
            ),
            ("a null config", "tokenizer_config.json", "null", r"tokenizer_config\.json: holds null, not an object"),
            (
                "a number for a token",
                "tokenizer_config.json",
                '{"eos_token": 5}',
                r"tokenizer_config\.json: eos_token is number, not text",
            ),
        )
    },
    "a text that is a number": (
        lambda t, f: ["--corpus", small(f, "a.jsonl", 5)],
        3,
        r'a\.jsonl:1: "text" is number, not text',
    ),
    "a column of numbers": (
        lambda t, f: ["--corpus", parquet(f / "a.parquet", [1, 2])],
        3,
        r'a\.parquet:1: "text" is number, not text',
    ),
    "a row without text": (
        lambda t, f: ["--corpus", parquet(f / "a.parquet", ["一", None])],
        3,
        r'a\.parquet:2: "text" is null, not text',
    ),
    "no text column": (
        lambda t, f: ["--corpus", pq.write_table(pa.table({"content": ["一"]}), f / "a.parquet") or f / "a.parquet"],
        3,
        r'a\.parquet: has no column "text" \(columns: content\)',
    ),
    "a damaged parquet file": (
        lambda t, f: ["--corpus", (f / "a.parquet").write_bytes(b"PAR1x") and f / "a.parquet"],
        3,
        r"a\.parquet: is not a readable parquet file",
    ),
    "an unknown group": (
        lambda t, f: ["--corpus", f"zh={small(f)}", "--mix", "zh=0.5,em=0.5"],
        2,
        r"--mix zh=0\.5,em=0\.5: there is no group em\.",
    ),
    "a group without a share": (
        lambda t, f: ["--corpus", f"zh={small(f)}", f"en={small(f, 'b.jsonl')}", "--mix", "zh=1"],
        2,
        r"has no share for en",
    ),
    "shares over 1": (
        lambda t, f: ["--corpus", f"zh={small(f)}", f"en={small(f, 'b.jsonl')}", "--mix", "zh=0.8,en=0.3"],
        2,
        r"the shares add up to 1\.1, not to 1",
    ),
    "a share of nothing": (
        lambda t, f: ["--corpus", f"zh={small(f)}", "--mix", "zh=0"],
        2,
        r'"zh=0" is not NAME=SHARE with a share above 0',
    ),
    "a share that is no number": (
        lambda t, f: ["--corpus", f"zh={small(f)}", "--mix", "zh=much"],
        2,
        r'"zh=much" is not NAME',
    ),
    "a share that is not a number": (
        lambda t, f: ["--corpus", f"zh={small(f)}", "--mix", "zh=nan"],
        2,
        r'"zh=nan" is not NAME',
    ),
    "a mix without names": (
        lambda t, f: ["--corpus", small(f), "--mix", "0.8"],
        2,
        r'--mix 0\.8: "0\.8" is not NAME=SHARE',
    ),
    "a group twice": (
        lambda t, f: ["--corpus", f"zh={small(f)}", "--mix", "zh=0.5,zh=0.5"],
        2,
        "zh stands there twice",
    ),
    "a mix that cannot be reached": (
        lambda t, f: [
            "--corpus",
            f"zh={small(f, 'a.jsonl', '一二三四' * 50)}",
            f"en={small(f, 'b.jsonl')}",
            "--mix",
            "zh=0.5,en=0.5",
        ],
        3,
        r"en has \d+ training tokens, .* takes \d+\. Give more text, --max-repeats \d+, or other shares",
    ),
    "names that are too alike": (
        lambda t, f: ["--corpus", f"a-b={small(f)}", f"a_b={small(f, 'b.jsonl')}"],
        2,
        r"groups need names that differ in more",
    ),
    "replay as a name": (
        lambda t, f: ["--corpus", f"replay={small(f)}", "--replay", small(f, "b.jsonl")],
        2,
        r"is the name of --replay's text",
    ),
    "two shares of replay": (
        lambda t, f: [
            "--corpus",
            small(f),
            "--replay",
            small(f, "b.jsonl"),
            "--mix",
            "corpus=0.9,replay=0.1",
            "--replay-share",
            "0.2",
        ],
        2,
        r"--mix says the share of replay too, so leave out --replay-share",
    ),
}


@pytest.mark.parametrize(("given", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_in_one_line(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: Any, code: int, message: str
) -> None:
    words = ["pack", *map(str, given(toy, tmp_path)), "-o", str(tmp_path / "out")]
    if "--tokenizer" not in words:
        words += ["--tokenizer", str(toy.extended)]
    with pytest.raises(SystemExit) as ended:
        main(words)
    err = capsys.readouterr().err
    assert ended.value.code == code, err
    assert err.startswith("error: ") and err.count("\n") == 1 and re.search(message, err), err
    assert not (tmp_path / "out").exists()
