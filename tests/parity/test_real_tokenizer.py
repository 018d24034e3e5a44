"""The line of the issue: the real Llama-2 tokenizer through every stage, and three engines on thousands of lines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import sentencepiece
from toys import stage, write_jsonl
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from zhllm import manifest
from zhllm.infer import llamacpp
from zhllm.infer.llamacpp import LlamaServer
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.proof import PROBE, fuzz
from zhllm.vocab.sentencepiece_model import load

CODE = (
    "import re, sys\tas  s",
    "class 类(object):  # 注释：全角（括号）",
    '    def __init__(self, 名字: str = "默认\\n") -> None:',
    '        self.x = {\'键\': [1, 2.5e-3, 0xFF], "emoji": "👩‍💻🏳️‍🌈"}   \t',
    "SELECT * FROM `表` WHERE 名称 LIKE '%合同%' AND id >= 10;",
    '<div class="标题">第一条　总则</div><!-- 注 -->',
    "for(int i=0;i<n;++i){a[i]^=b[i]<<3;}//循环",
    "   \t  \u3000 \u00a0 \u200b",
    "$ git commit -m \"修复：空格  与制表符\t\" && echo '完成✅'",
)


def lines_of(path: Path, start: int, stop: int) -> list[str]:
    data = path.read_bytes()
    rows = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()[start:stop]
    return [line for row in rows for line in json.loads(row)["text"].split("\n")]


@pytest.mark.slow
@pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")
def test_llama2_from_train_vocab_to_export(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    laws = real_data / "corpus" / "laws_zh.jsonl.gz"
    train, held_out = lines_of(laws, 0, 100), lines_of(laws, 770, 847)
    corpus = write_jsonl(tmp_path / "laws.jsonl", [{"text": "\n".join(train)}])
    packed = write_jsonl(tmp_path / "small.jsonl", [{"text": line} for line in train[:300] if line])
    llama2 = tmp_path / "llama2"
    llama2.mkdir()
    write_tokenizer(llama2, load(real_data / "tokenizers" / "llama2.model"))

    pieces = stage("train-vocab", tmp_path / "pieces", corpus=[corpus], size=5000, characters=2000, min_count=2)
    tokenizer = stage("extend-vocab", tmp_path / "extended", base=llama2, pieces=[pieces])
    base = stage("init-model", tmp_path / "base", tokenizer=llama2, size="toy")
    resized = stage("resize", tmp_path / "resized", model=base, tokenizer=tokenizer)
    data = stage("pack", tmp_path / "packed", corpus=[packed], tokenizer=resized, seq_len=64)
    settings = {"steps": 3, "rows_per_step": 4, "lora_rank": 4, "trainable": "new-rows+lora"}
    adapter = stage("pretrain", tmp_path / "adapter", model=resized, data=data, **settings)
    merged = stage("merge", tmp_path / "merged", model=resized, adapter=[adapter])
    gguf = stage("export", tmp_path / "gguf", model=merged, type=["f16", "q8_0", "q4_k_m"])

    english = lines_of(real_data / "corpus" / "en_c4_300.jsonl", 0, 300)
    rows = json.loads((merged / "config.json").read_text())["vocab_size"]
    added = [p.piece for p in load(merged).pieces[32000:]]
    probe = [*PROBE, *CODE, *fuzz([c for p in added for c in p], 1000, seed=7)]
    lines = [*held_out, *english, *probe]
    spm = sentencepiece.SentencePieceProcessor(model_file=str(merged / "tokenizer.model"))
    ids = spm.encode(lines)

    auto = AutoTokenizer.from_pretrained(merged, local_files_only=True)
    fast = PreTrainedTokenizerFast.from_pretrained(merged, local_files_only=True)
    assert len(auto) == len(fast) == spm.vocab_size() == rows > 35_000
    options = {"add_special_tokens": False, "split_special_tokens": True}
    for hf in (auto, fast):
        assert hf(lines, **options)["input_ids"] == ids
    with LlamaServer(gguf / "model-f16.gguf", n_ctx=256, n_parallel=1) as server:
        assert server.tokenize(lines) == ids
        # With the beginning of the text and special tokens read as such: what a prompt goes through.
        prompts = [f"<s>[INST] {line} [/INST] </s>" for line in lines[::20]]
        wanted = auto(prompts, add_special_tokens=False)["input_ids"]
        assert server.tokenize(prompts, parse_special=True) == wanted
        assert server.tokenize(lines[:50], add_special=True) == auto(lines[:50])["input_ids"]

    old = sentencepiece.SentencePieceProcessor(model_file=str(llama2 / "tokenizer.model"))
    for new_ids, old_ids in zip(ids, old.encode(lines), strict=True):
        assert new_ids == old_ids or max(new_ids) >= 32000, "a text without added pieces changed"
    assert spm.encode(english) == old.encode(english)
    fewer = sum(map(len, spm.encode(held_out))) / sum(map(len, old.encode(held_out)))
    assert fewer < 0.65, "the extension is an efficiency feature"
    quality = manifest.read(gguf).metrics  # type: ignore[union-attr]
    assert quality["kl_mean_f16"] < 1e-6 and quality["llama_cpp_kl_max_f16"] < 1e-4
    with capsys.disabled():
        print(f"\n{len(lines):,} lines: the same ids in 4 engines; {fewer:.2f} of the base's tokens on held-out law")
    assert len(lines) > 5000
