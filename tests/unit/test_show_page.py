"""`show --html`: one page that fetches nothing, says what the terminal says, and fits a phone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from lxml import html
from test_cli import run
from toys import Toy, write_jsonl

CHAT = [
    {"role": "user", "content": "样品<script>alert(1)</script>在哪里？" + "很长的一段话，" * 20},
    {"role": "assistant", "content": "在实验室👩‍👩‍👧‍👦，𠮷野。"},
    {"role": "user", "content": "谢谢\x1b[31m\u202e"}, {"role": "assistant", "content": "不客气。"},
]  # fmt: skip
# What makes a browser ask for something else.
FETCHING = ("src", "href", "srcset", "data", "action", "poster", "background")


def page_of(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    source = tmp_path / "chats"
    source.mkdir()
    write_jsonl(source / "chats-00000.jsonl", [{"id": "甲", "messages": CHAT, "source": "s"}])
    wide = "没有空格的一行" * 60
    write_jsonl(
        source / "preferences-00000.jsonl",
        [{"prompt": CHAT[:1], "chosen": "好。" + wide, "rejected": "坏的。" + wide, "source": "s" * 300}],
    )
    target = tmp_path / "pages" / "chats.html"
    asked = ["--tokenizer", str(toy.extended), "--prompt-format", "llama2", "--seq-len", "120", "--html", str(target)]
    code, out, err = run(["show", str(source), *asked], capsys)
    assert code == 0 and out == "" and f"wrote {target}" in err
    return target


def test_a_page_holds_everything_and_fetches_nothing(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = page_of(toy, tmp_path, capsys).read_text(encoding="utf-8")
    tree = html.fromstring(text.encode())
    assert not tree.xpath("//script|//iframe|//object|//embed|//img|//link|//base|//form")
    fetched = [v for e in tree.iter() for k, v in e.attrib.items() if k in FETCHING and not v.startswith("#")]
    assert not fetched and "url(" not in text and "@import" not in text and "default-src 'none'" in text
    assert "\x1b" not in text and "\u202e" not in text
    learnt = "".join(span.text_content() for span in tree.xpath("//span[contains(@class, 'learnt')]"))
    assert "不客(3)气(3)。" in learnt or "不客气。" in re.sub(r"\(\d\)", "", learnt)
    assert tree.xpath("//span[contains(@class, 'cut')]") and tree.xpath("//span[contains(@class, 'end')]")
    assert [e.text_content() for e in tree.xpath("//del")] == ["坏的"] and tree.xpath("//ins")[0].text == "好"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_page_fits_a_phone_and_opens_without_a_network(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = page_of(toy, tmp_path, capsys)
    # A page of a phone's width in a frame of this test's own, which measures it with a script.
    frame = tmp_path / "frame.html"
    frame.write_text(
        '<iframe id="f" src="pages/chats.html" style="width:360px;height:800px;border:0"></iframe><script>'
        'document.getElementById("f").onload=e=>{const d=e.target.contentDocument.documentElement;'
        "document.title=`WIDTH ${d.scrollWidth} OF ${d.clientWidth}`}</script>"
    )
    assert page.parent == tmp_path / "pages"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=3000", "--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True, env={**os.environ})
    found = re.search(r"WIDTH (\d+) OF (\d+)", done.stdout.decode())
    assert found, done.stdout[:500]
    assert int(found[1]) <= int(found[2]) <= 360


def test_a_page_that_cannot_be_written_is_one_line(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    code, _, err = run(["show", str(toy.pieces), "--html", str(tmp_path / "file" / "a.html")], capsys)
    assert code == 2 and "cannot be written" in err and err.count("\n") == 1


def test_every_kind_of_folder_has_a_page(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": n, "loss": 10 / n} for n in range(1, 30)])
    for folder, options, words in (
        (toy.zh, [], "wrote"), (toy.pieces, [], "count"), (toy.extended, [], "added pieces"),
        (toy.resized, [], "q_proj"), (toy.packed, ["--tokenizer", str(toy.resized)], "begins with a document"),
        (toy.resized, ["--manifest"], "as it was read"), (tmp_path, [], "<svg"),
    ):  # fmt: skip
        target = tmp_path / "a.html"
        code, _, err = run(["show", str(folder), "--html", str(target), *options], capsys)
        assert code == 0, err
        text = target.read_text(encoding="utf-8")
        assert words in text or words in err, folder
