"""What `export` writes and refuses: choices, reports, memory, bad weights; engines are in parity/test_gguf."""

from __future__ import annotations

import errno
import json
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as T
from safetensors.torch import load_file, save_file
from toys import Toy, random_model, stage

from zhllm.config import make
from zhllm.errors import ConfigError, DataError, MissingError, ProofError, StageError
from zhllm.infer import fidelity
from zhllm.infer.divergence import divergence, targets_of
from zhllm.infer.importance import importance_of
from zhllm.infer.probe import logits
from zhllm.infer.streamed import StreamedModel
from zhllm.model import gguf_blocks, gguf_stream, kquants
from zhllm.model.directory import set_chat_template
from zhllm.model.gguf_file import open_source
from zhllm.model.gguf_proof import SourceWeights
from zhllm.model.gguf_read import GgufFile
from zhllm.model.gguf_stream import Encoder, in_order, write_gguf
from zhllm.stage import execute, load
from zhllm.stages import _export_files
from zhllm.stages.export import ExportConfig
from zhllm.text.prompt_format import FORMATS
from zhllm.vocab.tokenizer import Tokenizer

WIDE: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512}


@pytest.fixture(autouse=True)
def _without_llama_cpp(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No child process: what llama.cpp itself says is tested where it is the subject."""
    monkeypatch.setattr("zhllm.infer.llamacpp.available", lambda: False)


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def changed(model: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    tensors = load_file(model / "model.safetensors")
    change(tensors)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    return model


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_streamed_forward_pass_gives_transformers_logits(
    toy: Toy, tmp_path: Path, model_type: str, tied: bool
) -> None:
    model = random_model(tmp_path / "model", toy.extended, model_type=model_type, tie_word_embeddings=tied)
    source = open_source(model)
    ids = [[1, 5, 9, 300, 7], [1, 8], [1, *range(20, 60)]]
    streamed, weights = StreamedModel(model, source.tied), SourceWeights(source)
    hidden = streamed.hidden(ids, weights)
    for row, wanted in zip(hidden, logits(model, ids), strict=True):
        found = streamed.logits(row, weights, slice(0, wanted.shape[1]))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_divergence_in_blocks_is_that_of_whole_logits(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [random_model(tmp_path / name, toy.extended) for name in "ab"]
    changed(models[1], lambda t: t.update({"lm_head.weight": t["lm_head.weight"] + 0.01}))
    ids = [[1, 5, 9, 300, 7], [1, 8, 400]]
    sources = [open_source(model) for model in models]
    streamed, weights = StreamedModel(models[0], tied=False), [SourceWeights(source) for source in sources]
    sides = [(torch.cat(streamed.hidden(ids, w)), w) for w in weights]
    monkeypatch.setattr("zhllm.model.gguf_proof.BLOCK_VALUES", 64 * 37)  # 37 vocabulary rows at a time
    rows = sources[0].weights.specs["lm_head.weight"].shape[0]
    found = divergence(streamed, targets_of(ids), sides[0], sides[1], rows)
    p, q = (torch.cat(logits(model, ids)).double().log_softmax(-1) for model in models)
    torch.testing.assert_close(found.kl, (p.exp() * (p - q)).sum(-1), rtol=1e-4, atol=1e-7)
    assert torch.equal(found.same_best, p.argmax(-1) == q.argmax(-1))
    following = [0, 1, 2, 3, 5, 6]
    targets = torch.tensor([5, 9, 300, 7, 8, 400])
    torch.testing.assert_close(found.nats_file[following], -q[following, targets], rtol=1e-4, atol=1e-5)
    assert found.nats_file[[4, 7]].isnan().all(), "no token follows the last of a row"
    change = (q[following, targets].exp() - p[following, targets].exp()).square().mean().sqrt()
    figures = found.figures(chars=10)
    assert figures["rms_delta_p"] == pytest.approx(float(change), rel=1e-3)
    assert figures["bits_per_char"] == pytest.approx(-float(q[following, targets].sum()) / np.log(2) / 10, rel=1e-4)


@pytest.mark.parametrize("kind", ["bf16", "q8_0", "q4_k_m"])
def test_threads_and_blocks_leave_the_bytes_alone(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source = open_source(random_model(tmp_path / "model", toy.extended, dtype="bfloat16", **WIDE))
    files = []
    for number, (workers, values) in enumerate([(1, 1 << 20), (3, 700), (2, 256 * 33)]):
        monkeypatch.setattr(gguf_stream, "BLOCK_VALUES", values)
        (tmp_path / str(number)).mkdir()
        write_gguf(source, tmp_path / str(number) / "a.gguf", kind, None, 2, encoder=Encoder("own", workers))
        files.append((tmp_path / str(number) / "a.gguf").read_bytes())
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("kind", ["bf16", "q8_0"])
def test_memory_does_not_grow_with_the_model(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(gguf_stream, "BLOCK_VALUES", 1 << 14)
    peaks = []
    for layers in (2, 12):
        settings = {**WIDE, "num_hidden_layers": layers}
        source = open_source(random_model(tmp_path / str(layers), toy.extended, dtype="bfloat16", **settings))
        tracemalloc.start()
        write_gguf(source, tmp_path / "a.gguf", kind, None, 2, encoder=Encoder("own", 2))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 2**17, "ten more layers are 12 MB in bfloat16"


def test_work_in_threads_keeps_its_order_and_its_error() -> None:
    assert list(in_order(lambda n: n * n, range(50), 4)) == [n * n for n in range(50)]

    def fails(n: int) -> int:
        if n == 7:
            raise DataError("seven")
        return n

    with pytest.raises(DataError, match="seven"):
        list(in_order(fails, range(50), 4))


def test_every_type_of_its_own_quantiser_is_written_and_reported(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended, **WIDE)
    set_chat_template(model, FORMATS["plain"].jinja())
    types = ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_k_s", "q4_0"]
    settings = {"model": model, "type": types, "text": [toy.zh], "quantizer": "own", "name": "公司-7b"}
    execute(load("export"), ExportConfig.model_validate(settings), out := tmp_path / "out")
    report = report_of(out)
    assert report["quantizer"] == "own" and report["kept"] == types and report["sample"]["own_text"]
    sizes = [report["types"][kind]["bytes"] for kind in types]
    assert sizes == [(out / f"公司-7b-{kind}.gguf").stat().st_size for kind in types]
    rows = report["types"]
    assert rows["f32"]["kl_mean"] == 0 == rows["f32"]["rms_delta_p"] and rows["f32"]["top1_agreement"] == 1
    assert rows["f16"]["kl_mean"] < rows["q8_0"]["kl_mean"] < rows["q6_k"]["kl_mean"] < rows["q4_k_m"]["kl_mean"]
    assert rows["q8_0"]["bits_per_weight"] == pytest.approx(8.5, abs=0.1)
    assert rows["q4_k_m"]["kl_p99"] <= rows["q4_k_m"]["kl_max"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "公司-7b" in page and all(f"<td>{kind}</td>" in page for kind in types) and page.count("<svg") == 2
    named = [set(re.findall(r"<text [^>]*>(\w+)</text>", svg)) & set(types) for svg in page.split("<svg")[1:]]
    assert named == [set(types) - {"f32"}, set(types)] and "not in the first chart: f32." in page
    assert "kept" not in page and 'class="legend"' not in page
    assert "FROM ./公司-7b-f32.gguf" in (out / "Modelfile").read_text(encoding="utf-8")


def test_bits_per_character_are_those_of_evaluate(toy: Toy, tmp_path: Path) -> None:
    """The report's source row against the other implementation, on texts that fit one window."""
    from zhllm.evals.bits import bits_per_char
    from zhllm.text.read.shards import held_out

    out = stage("export", tmp_path / "out", model=toy.resized, type=["f32"], text=[toy.zh], text_tokens=100000)
    texts = [document.text for document in held_out([toy.zh])]
    wanted = bits_per_char(toy.resized, texts)
    report = report_of(out)
    assert report["sample"]["chars"] == wanted.chars
    assert report["source"]["bits_per_char"] == pytest.approx(wanted.bits_per_char, rel=1e-4)


def test_the_smallest_type_within_the_limit_is_kept(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(tmp_path / "model", toy.extended, **WIDE)
    increases = {"q4_0": 0.05, "q4_k_m": 0.02, "q8_0": 0.001, "f16": 0.0}

    def proved(path: Path, kind: str, *rest: Any) -> dict[str, Any]:
        size = {"bytes": path.stat().st_size, "bits_per_weight": 1.0, "kl_mean": 0.1, "kl_p99": 0.1, "kl_max": 0.1}
        same = {"top1_agreement": 1.0, "rms_delta_p": 0.0}
        return {**size, **same, "bits_per_char": own["bits_per_char"] * (1 + increases[kind])}

    own = fidelity.Reference(open_source(model), Tokenizer(model), [toy.zh]).figures()
    monkeypatch.setattr(_export_files, "prove", proved)
    settings: dict[str, Any] = {"model": model, "text": [toy.zh], "type": ["f16", "q8_0", "q4_0", "q4_k_m"]}
    out = stage("export", tmp_path / "out", max_bpc_increase="1%", **settings)
    assert [path.name for path in out.glob("*.gguf")] == ["model-q8_0.gguf"]
    report = report_of(out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<td>q8_0, kept</td>" in page and "<td>q4_0</td>" in page
    assert report["kept"] == ["q8_0"] and list(report["types"]) == ["q4_0", "q4_k_m", "q8_0"]
    assert stage("export", tmp_path / "2", max_bpc_increase="2.5%", **settings).joinpath("model-q4_k_m.gguf").exists()
    increases["q4_0"] = increases["q4_k_m"] = -0.025  # a damaged model, though better at this text
    out = stage("export", tmp_path / "better", max_bpc_increase="1%", **settings)
    assert report_of(out)["kept"] == ["q8_0"]
    increases |= {"q4_0": -0.05, "q4_k_m": -0.02, "q8_0": 0.3, "f16": 0.3}
    with pytest.raises(ProofError, match=r"no type keeps bits per character within 1% .* q4_k_m with -2.00%"):
        stage("export", tmp_path / "3", max_bpc_increase="1%", **settings)
    assert not (tmp_path / "3").exists()


def test_an_importance_matrix_is_the_mean_square_of_the_inputs(toy: Toy, tmp_path: Path) -> None:
    from zhllm.model.transformers_model import open_model

    model = random_model(tmp_path / "model", toy.extended)
    source, ids = open_source(model), [[1, 5, 9, 300, 7], [1, 8]]
    found = importance_of(StreamedModel(model, source.tied), source, ids)
    assert set(found) == {f"blk.{n}.{part}.weight" for n in range(2) for part in (
        "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")}  # fmt: skip
    seen: list[torch.Tensor] = []
    whole = open_model(model, torch.float32)
    whole.model.layers[1].mlp.down_proj.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][0]))
    with torch.no_grad():
        for row in ids:
            whole(torch.tensor([row]))
    wanted = torch.cat(seen).square().mean(0).numpy()
    np.testing.assert_allclose(found["blk.1.ffn_down.weight"], wanted, rtol=1e-4)


def test_an_importance_matrix_lowers_the_error_of_what_is_used(toy: Toy, tmp_path: Path) -> None:
    def loudened(tensors: dict[str, torch.Tensor]) -> None:
        for layer in range(2):  # a few channels carry most, as in trained models
            tensors[f"model.layers.{layer}.input_layernorm.weight"][:16] *= 30
            tensors[f"model.layers.{layer}.post_attention_layernorm.weight"][:16] *= 30

    model = changed(random_model(tmp_path / "model", toy.extended, **WIDE), loudened)
    settings: dict[str, Any] = {"model": model, "type": ["q4_k_m"], "text": [toy.zh], "quantizer": "own"}
    plain = report_of(stage("export", tmp_path / "plain", **settings))
    weighted = report_of(stage("export", tmp_path / "weighted", imatrix=[toy.zh], **settings))
    assert weighted["importance_matrix"] and not plain["importance_matrix"]
    assert weighted["types"]["q4_k_m"]["kl_mean"] < 0.98 * plain["types"]["q4_k_m"]["kl_mean"]


BAD_WEIGHTS = [
    ("bf16", float("nan"), "q8_0"), ("bf16", float("inf"), "bf16"), ("f32", float("nan"), "f32"),
    ("f32", float("-inf"), "q4_k_m"), ("f32", float("nan"), "f16"), ("bf16", 70000.0, "f16"), ("f32", 1e6, "q4_0"),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "value", "kind"), BAD_WEIGHTS)
def test_a_weight_that_cannot_be_stored_is_named(toy: Toy, tmp_path: Path, dtype: str, value: float, kind: str) -> None:
    stored = {"bf16": "bfloat16", "f32": "float32"}[dtype]
    model = random_model(tmp_path / "model", toy.extended, dtype=stored, **WIDE)
    name = "model.layers.1.self_attn.q_proj.weight"
    changed(model, lambda t: t[name].__setitem__((3, 17), value))
    source = open_source(model)
    with pytest.raises(DataError, match=rf"{name} has .* in row 3, column 17: not finite"):
        write_gguf(source, tmp_path / "a.gguf", kind, None, 2)
    with pytest.raises(DataError, match=rf"{name} has .* in row 3, column 17: not finite"):
        stage("export", tmp_path / "out", model=model, type=[kind])
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(StageError, match=r"out: the files need 0.00 GB, the disk has 0.00 GB left"):
        stage("export", tmp_path / "out", model=toy.resized, type=["f16"])
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_leaves_no_folder(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = gguf_stream.GGUFWriter.write_block, []

    def fills(self: Any, *arguments: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, *arguments, **named)

    monkeypatch.setattr(gguf_stream.GGUFWriter, "write_block", fills)
    with pytest.raises((StageError, OSError), match=r"[Nn]o space"):
        stage("export", tmp_path / "out", model=toy.resized, type=["f16"])
    assert not (tmp_path / "out").exists()


def test_a_foreign_chat_template_is_refused_or_taken_as_it_is(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    foreign = "{% for m in messages %}<<{{ m['role'] }}>>{{ m['content'] }}{% endfor %}"
    set_chat_template(model, foreign)
    with pytest.raises(DataError, match=r"template is none that zhllm knows \(.*llama3.*--foreign-template"):
        stage("export", tmp_path / "out", model=model, type=["f16"])
    assert not (tmp_path / "out").exists()
    out = stage("export", tmp_path / "out", model=model, type=["f16"], foreign_template=True)
    assert GgufFile(out / "model-f16.gguf").metadata["tokenizer.chat_template"] == foreign
    assert not (out / "Modelfile").exists()


def test_a_base_without_a_chat_template_is_told_that_there_is_no_modelfile(
    toy: Toy, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = random_model(tmp_path / "model", toy.extended)
    out = stage("export", tmp_path / "out", model=model, type=["f16"])
    assert not (out / "Modelfile").exists()
    assert "has no chat template: no Modelfile is written" in capfd.readouterr().err
    set_chat_template(model, FORMATS["plain"].jinja())
    assert (stage("export", tmp_path / "2", model=model, type=["f16"]) / "Modelfile").exists()
    assert "Modelfile" not in capfd.readouterr().err


def test_the_report_says_whose_quantiser_it_was(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_llama = kquants.llama_quantize_chunk() is not None
    said = []
    for number in range(2):
        out = stage("export", tmp_path / str(number), model=toy.resized, type=["q8_0"])
        said.append((json.loads((out / "report.json").read_text())["quantizer"], (out / "report.html").read_text()))
        monkeypatch.setattr("zhllm.model.kquants.llama_quantize_chunk", lambda: None)
    assert [name for name, _ in said] == ["auto" if has_llama else "own", "own"]
    assert ("ggml_quantize_chunk" in said[0][1]) == has_llama and "ggml_quantize_chunk" not in said[1][1]


def test_settings_that_do_not_go_together(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--max-bpc-increase is measured on your text"):
        make(ExportConfig, {"model": toy.base, "max_bpc_increase": "1%"})
    for wrong in ("a little", "1", 1, "-1%", "１%", "1%\n", 0.01, True):
        with pytest.raises(ConfigError, match=rf"^--max-bpc-increase {wrong}: write a share, such as 1%\.$"):
            make(ExportConfig, {"model": toy.base, "text": [toy.zh], "max_bpc_increase": wrong})
    with pytest.raises(ConfigError, match="which must differ"):
        make(ExportConfig, {"model": toy.base, "adapter": [Path("a/lora"), Path("b/lora")]})
    monkeypatch.setattr("zhllm.model.kquants.llama_quantize_chunk", lambda: None)
    with pytest.raises(MissingError, match=r"Q2_K tensors .*zhllm\[llama\]"):
        gguf_blocks.quantize(np.zeros((1, 256), np.float32), T.Q2_K)
