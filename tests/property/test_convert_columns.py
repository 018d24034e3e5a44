"""Plain Alpaca lines are converted as columns: every file that comes of it is what record by record gives."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zhllm import stage
from zhllm.errors import DataError
from zhllm.stages import _convert_files, _convert_work, convert
from zhllm.text.shapes.alpaca import plain_columns

TEXTS = st.lists(
    st.sampled_from([
        "你好，世界。", "首都 是哪里?", " ", "\u3000", "\x1f", "\0", "\r\n", "", "A plain answer, with a full stop.",
        "我是ChatGPT，由OpenAI开发。", "As an AI made by Google, I", "<|im_end|>", "</s>", "Human: hi",
        "我叫{{name}}，是助手。",
        "13812345678", "１３８１２３４５６７８", "微信：abc12345", "a@b.com", "\x07", "\u200b",
        "ä½ å¥½ä¸–ç•Œ", "浣犲ソ涓栫晫",
        "\ufffd", "這個們來時說國為會對過學與後", "日本語です", "café résumé", "```py\n", "𠀀𪚥𠮷", "nan", "42",
        '"},{"id":"', '","messages":[', '","source":"x"}', "\\", "说明文字" * 30, "👩‍🚀🧑‍💼",
    ]),
    max_size=4,
).map("".join)  # fmt: skip
VALUES = TEXTS | TEXTS | TEXTS | st.sampled_from([None, 7, True, [], {"a": 1}])
MORE = st.sampled_from(
    [
        {},
        {},
        {},
        {"history": [["早", "早"]]},
        {"id": "七"},
        {"system": "你是助手。"},
        {"lang": "en"},
        {"meta": {"a": 1}},
    ]
)
RECORDS = st.builds(
    lambda asked, more, answer, rest: {"instruction": asked, "input": more, "output": answer} | rest,
    VALUES, TEXTS, TEXTS | VALUES, MORE,
)  # fmt: skip
LINES = st.one_of(
    RECORDS.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    RECORDS.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([
        b"", b" ", b"{}", b"[]", b"null", b"{", b'{"instruction":"a","input":"","output":"b"', b'"output":"c"}',
        '{"instruction":"问","input":"","output":"答"}'.encode("gb18030"), b"\xff", b"\xef\xbb\xbf",
        b'{"instruction":"\\ud800","input":"","output":"b"}', b'{"instruction":"a","input":"","output":"\\u0000b"}',
        b'{"instruction":"a","input":"","output":"b","output":"c"}', b'{"output":"b","input":"","instruction":"a"} ',
        b'{"instruction":"a","input":"","output":"\\/\\u4f60"}\r', b'{"instruction":"a","output":"b"}',
    ]),
)  # fmt: skip


def written(source: Path, out: Path, by_columns: bool, **flags: object) -> dict[str, bytes | str]:
    """All that convert writes, or why it writes nothing."""
    config = convert.ConvertConfig(source=(source,), max_rejected_share=1, **flags)  # type: ignore[arg-type]
    columns = plain_columns if by_columns else none_is_plain
    with mock.patch.object(_convert_files, "plain_columns", columns):
        try:
            stage.execute(convert.STAGE, config, out)
        except DataError as error:
            return {"refused": str(error).replace(str(out), "OUT")}
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "manifest.json"}


def none_is_plain(values: object) -> tuple[list[str], list[str]]:
    """As if every record had to be looked at closer."""
    nothing = [""] * len(list(values))  # type: ignore[call-overload]
    return nothing, nothing


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINES, min_size=1, max_size=30), st.sampled_from([None, "小智"]), st.sampled_from([None, "zh"]))
def test_hostile_lines_give_the_same_bytes_both_ways(lines: list[bytes], identity: str | None, zh: str | None) -> None:
    with tempfile.TemporaryDirectory() as name, mock.patch.object(_convert_files, "CUT_BYTES", 1):
        source = Path(name) / "lines.jsonl"
        source.write_bytes(b'{"instruction":"a","input":"","output":"It is b."}\n' + b"\n".join(lines) + b"\n")
        with mock.patch.object(_convert_files, "_BATCH_LINES", 5), mock.patch.object(_convert_work, "BLOCK_ITEMS", 7):
            columns = written(source, Path(name) / "columns", True, identity=identity, language=zh)
        rows = written(source, Path(name) / "rows", False, identity=identity, language=zh)
    assert columns == rows


@pytest.mark.parametrize("name", ["alpaca_zh_1000.json", "alpaca_en_999.json", "messages_500.jsonl"])
def test_real_records_give_the_same_bytes_both_ways(name: str, real_data: Path, tmp_path: Path) -> None:
    whole = (real_data / "instruct" / name).read_text(encoding="utf-8")
    records = json.loads(whole) if name.endswith(".json") else list(map(json.loads, whole.splitlines()))
    source = tmp_path / "lines.jsonl"
    source.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    with mock.patch.object(_convert_files, "CUT_BYTES", 1):
        columns, rows = (written(source, tmp_path / str(way), way) for way in (True, False))
    assert columns == rows and len(columns["chats-00000.jsonl"]) > 100_000
