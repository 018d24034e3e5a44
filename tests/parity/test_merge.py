"""Merged adapters against peft unmerged: every kind of LoRA, several at once, new rows, one rounding, no guesses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adapters import adapter
from peft import PeftModel
from safetensors.torch import load_file, save_file
from test_trainable import own_logits, trained
from toys import Toy, random_model, stage
from transformers import AutoModelForCausalLM

from zhllm import manifest
from zhllm.errors import DataError, ProofError
from zhllm.infer.probe import logits
from zhllm.model import lora, merge_blocks
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.lora import Adapter, rank_and_scale
from zhllm.train.lora import CHANGE_BASE, LoraSettings
from zhllm.train.processes import Processes
from zhllm.train.proof import Start
from zhllm.train.trainee import Trainee

IDS = [[1, 5, 300, 17, 424, 500, 9, 9], [1, *range(400, 420)]]


def new_rows(folder: Path, model: Path, counts: dict[str, int], seed: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    width = load_file(model / "model.safetensors")[EMBED].shape[1]
    rows = {name: torch.randn(count, width, generator=generator) for name, count in counts.items()}
    save_file(rows, folder / "new_rows.safetensors")
    return folder


def in_float64(model: Path, adapters: Sequence[Path]) -> list[torch.Tensor]:
    """Logits of base + adapters by peft, unmerged; new rows first, in order."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64)
    for path in adapters:
        if (path / "new_rows.safetensors").is_file():
            for name, rows in load_file(path / "new_rows.safetensors").items():
                loaded.get_parameter(name).data[-len(rows) :] = rows.double()
    names = {f"a{n}": path for n, path in enumerate(adapters) if (path / "adapter_config.json").is_file()}
    for name, path in names.items():
        if isinstance(loaded, PeftModel):
            loaded.load_adapter(str(path), adapter_name=name)
        else:
            loaded = PeftModel.from_pretrained(loaded, str(path), adapter_name=name)
    if names:
        loaded.base_model.set_adapter(list(names))
        for name, parameter in loaded.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.double()
    with torch.no_grad():
        return [loaded.eval()(torch.tensor([row]), use_cache=False).logits[0] for row in IDS]


@pytest.fixture(scope="module")
def model(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("merge") / "model", toy.extended)


@pytest.fixture(scope="module")
def tied(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("merge") / "tied", toy.extended, tie_word_embeddings=True)


PATTERNS = {"rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 7}, "alpha_pattern": {r"layers\.[01].*k_proj": 3}}
LORA: dict[str, list[dict[str, Any]]] = {
    "plain": [{}],
    "patterns": [PATTERNS],
    "rsLoRA": [{"use_rslora": True}],
    "DoRA": [{"use_dora": True}],
    "rsLoRA, DoRA, patterns": [{"use_rslora": True, "use_dora": True, **PATTERNS}],
    "head too": [{"target_modules": ["q_proj", "lm_head"]}],
    "one layer": [{"layers_to_transform": [1]}],
    "two": [{}, {"use_rslora": True, "r": 8}],
    "two, one DoRA": [{"use_dora": True}, {}],
    "two DoRA": [{"use_dora": True}, {"use_dora": True, **PATTERNS}],
}


@pytest.mark.parametrize(
    ("kind", "blocks_of"), [*((kind, 1 << 30) for kind in LORA), ("rsLoRA, DoRA, patterns", 5), ("two DoRA", 7)]
)
def test_merged_is_base_and_adapters(
    model: Path, tmp_path: Path, kind: str, blocks_of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_blocks, "BLOCK_VALUES", blocks_of * 64)
    monkeypatch.setattr(merge_blocks, "READ_BYTES", min(blocks_of, 1 << 20) * 64 * 4 * 3)
    adapters = [adapter(tmp_path / f"a{n}", model, n, **settings) for n, settings in enumerate(LORA[kind])]
    out = stage("merge", tmp_path / "out", model=model, adapter=adapters)
    wanted, found, base = in_float64(model, adapters), in_float64(out, []), in_float64(model, [])
    assert max(float((a - b).abs().max()) for a, b in zip(wanted, base, strict=True)) > 0.3, "the adapter does nothing"
    for a, b in zip(wanted, found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-5)
    tensors = sum(len(load_file(path / "adapter_model.safetensors")) for path in adapters)
    per_module = [3 if settings.get("use_dora") else 2 for settings in LORA[kind]]
    report = json.loads((out / "merge_report.json").read_text())
    used = [len(Adapter(path).updates) for path in adapters]
    assert report["adapter_tensors_used"] == tensors == sum(n * each for n, each in zip(used, per_module, strict=True))


@pytest.mark.parametrize("case", ["rows", "rows and LoRA", "rows and LoRA of the head", "twice", "all, then some"])
def test_new_rows_are_put_in_place(model: Path, tmp_path: Path, case: str) -> None:
    total = load_file(model / "model.safetensors")[EMBED].shape[0]
    first = new_rows(tmp_path / "first", model, {EMBED: 140, HEAD: 140})
    adapters = [first]
    if "LoRA" in case:
        targets = {"target_modules": ["q_proj", "lm_head"]} if "head" in case else {}
        rows = load_file(first / "new_rows.safetensors")
        adapter(first, model, **targets)
        save_file(rows, first / "new_rows.safetensors")
    if case == "twice":
        adapters.append(new_rows(tmp_path / "second", model, {EMBED: 140}, seed=1))
    if case == "all, then some":
        adapters = [new_rows(tmp_path / "all", model, {EMBED: total, HEAD: total}, seed=2), first]
    out = stage("merge", tmp_path / "out", model=model, adapter=adapters)
    for a, b in zip(in_float64(model, adapters), in_float64(out, []), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-5)
    old, new = load_file(model / "model.safetensors"), load_file(out / "model.safetensors")
    if case in ("rows", "twice"):
        same = [n for n in old if torch.equal(old[n], new[n])]
        assert set(old) - set(same) == {EMBED, HEAD}
        assert torch.equal(old[EMBED][:-140], new[EMBED][:-140])
        assert torch.equal(new[EMBED][-140:], load_file(adapters[-1] / "new_rows.safetensors")[EMBED])


def test_tied_embeddings_take_new_rows_once(tied: Path, tmp_path: Path) -> None:
    rows = new_rows(tmp_path / "rows", tied, {EMBED: 140})
    out = stage("merge", tmp_path / "out", model=tied, adapter=[rows])
    assert HEAD not in load_file(out / "model.safetensors")
    for a, b in zip(in_float64(tied, [rows]), in_float64(out, []), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-5)


@pytest.mark.parametrize("use_dora", [False, True])
def test_bf16_is_rounded_once(toy: Toy, tmp_path: Path, use_dora: bool) -> None:
    """Against W + scale B A in float64, rounded once: all but one weight in a thousand bit for bit, the rest 1 ulp."""
    base = random_model(tmp_path / "base", toy.extended, dtype="bfloat16")
    path = adapter(tmp_path / "a", base, use_dora=use_dora, **PATTERNS)
    out = stage("merge", tmp_path / "out", model=base, adapter=[path])
    old, new = load_file(base / "model.safetensors"), load_file(out / "model.safetensors")
    parts = {n.removeprefix("base_model.model."): t for n, t in load_file(path / "adapter_model.safetensors").items()}
    config = json.loads((path / "adapter_config.json").read_text())
    different = total = 0
    for name, merged in new.items():
        module = name.removesuffix(".weight")
        if f"{module}.lora_A.weight" not in parts:
            assert torch.equal(merged, old[name])
            continue
        a, b = (parts[f"{module}.lora_{x}.weight"].double() for x in "AB")
        weight = old[name].double() + rank_and_scale(config, module)[1] * (b @ a)
        if use_dora:
            weight *= (parts[f"{module}.lora_magnitude_vector"].double() / weight.norm(dim=1))[:, None]
        wanted = weight.to(torch.bfloat16)
        steps = (merged.view(torch.int16).int() - wanted.view(torch.int16).int()).abs()
        assert steps[wanted.abs() > 1e-6].max() <= 1
        different += int((steps > 0).sum())
        total += steps.numel()
    assert total == 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64)
    assert different / total < 1e-3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wrong_scale_does_not_pass_the_proof(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    model = random_model(tmp_path / "model", toy.extended, dtype=dtype)
    path = adapter(tmp_path / "a", model, use_rslora=True)
    without_root = rank_and_scale({"r": 4, "lora_alpha": 12}, "q_proj")
    monkeypatch.setattr(lora, "rank_and_scale", lambda config, module: without_root)
    with pytest.raises(ProofError, match=r"merged model's logits differ from base \+ adapters by \d"):
        stage("merge", tmp_path / "out", model=model, adapter=[path])
    assert not (tmp_path / "out").exists()


def with_setting(**settings: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**config, **settings}))

    return change


def with_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return apply


Q0 = "base_model.model.model.layers.0.self_attn.q_proj"
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "extra tensor": (
        with_tensors(lambda t: t.update({"base_model.model.model.norm.weight": torch.ones(64)})),
        "does not know what to do with the tensor base_model.model.model.norm.weight",
    ),
    "LoRA of an embedding": (
        with_tensors(lambda t: t.update({"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(4, 571)})),
        r"model.embed_tokens has \['lora_embedding_A'\], not \['lora_embedding_A', 'lora_embedding_B'\]",
    ),
    "LoRA of a module the base lacks": (
        with_tensors(lambda t: t.update({n.replace("layers.0", "layers.7"): v.clone() for n, v in list(t.items())})),
        r"its update of model.layers.7.self_attn.q_proj.weight is 64 x 64, the base .* has None",
    ),
    "bias of LoRA": (
        with_tensors(lambda t: t.update({f"{Q0}.lora_B.bias": torch.ones(64)})),
        r"q_proj has \['lora_A', 'lora_B', 'lora_B.bias'\], not \['lora_A', 'lora_B'\]",
    ),
    "A without B": (with_tensors(lambda t: t.pop(f"{Q0}.lora_B.weight")), r"q_proj has \['lora_A'\], not \['lora_A"),
    "DoRA without magnitude": (with_setting(use_dora=True), r"not \['lora_A', 'lora_B', 'lora_magnitude_vector'\]"),
    "another rank": (with_setting(r=8), r"lora_A \(4, 64\) and lora_B \(64, 4\), but .* gives it rank 8"),
    "PiSSA": (with_setting(init_lora_weights="pissa_niter_4"), "sets init_lora_weights=pissa_niter_4, which"),
    "OLoRA": (with_setting(init_lora_weights="olora"), "sets init_lora_weights=olora, which"),
    "LoftQ": (with_setting(init_lora_weights="loftq"), "sets init_lora_weights=loftq, which"),
    "modules_to_save": (with_setting(modules_to_save=["lm_head"]), "modules_to_save names lm_head, of which its file"),
    "fan_in_fan_out": (with_setting(fan_in_fan_out=True), "sets fan_in_fan_out, which"),
    "trainable tokens": (with_setting(trainable_token_indices=[5]), "its file holds no trained tokens"),
    "replicated layers": (with_setting(layer_replication=[[0, 2], [1, 2]]), "sets layer_replication, which"),
    "a variant of tomorrow": (with_setting(use_quantum=True), "sets use_quantum, which this merge does not cover"),
    "IA3": (with_setting(peft_type="IA3"), "is a IA3 adapter; zhllm merges LORA adapters"),
    "no rank": (lambda f: (f / "adapter_config.json").write_text('{"peft_type": "LORA"}'), "has no r and no lora_a"),
    "no tensors": (lambda f: (f / "adapter_model.safetensors").unlink(), "and no adapter_model.bin"),
    "no adapter": (lambda f: (f / "adapter_config.json").unlink(), "is not an adapter: it has neither"),
    "rows of another width": (
        lambda f: save_file({EMBED: torch.ones(9, 32)}, f / "new_rows.safetensors"), "9 x 32, that do not fit"
    ),
    "more rows than there are": (
        lambda f: save_file({EMBED: torch.ones(999, 64)}, f / "new_rows.safetensors"), "999 x 64, that do not fit"
    ),
    "rows of an unknown matrix": (
        lambda f: save_file({"wte": torch.ones(9, 64)}, f / "new_rows.safetensors"), r"new rows of wte.* \(0 rows\)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_an_adapter_that_would_be_merged_wrongly_is_refused(model: Path, tmp_path: Path, reason: str) -> None:
    change, message = REFUSED[reason]
    path = adapter(tmp_path / "a", model, target_modules=["q_proj"])
    change(path)
    with pytest.raises(DataError, match=message) as error:
        stage("merge", tmp_path / "out", model=model, adapter=[path])
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_base_an_adapter_was_trained_on_is_known(toy: Toy, tmp_path: Path) -> None:
    """By digest where zhllm trained it, whatever the folder is called; by shape where anyone else did."""
    settings = {"steps": 2, "rows_per_step": 2, "lora_rank": 2, "learning_rate": 1e-3}
    trained = stage("pretrain", tmp_path / "adapter", model=toy.resized, data=toy.packed, **settings)
    twin = stage("init-model", tmp_path / "twin", tokenizer=toy.tokenizer, size="toy", seed=1)
    other = stage("resize", tmp_path / "other", model=twin, tokenizer=toy.extended)
    for wrong, message in (
        (other, r"was trained on another model \(.*resized, digest \w{12}\) than .*other \(digest"),
        (toy.base, "was trained on another model"),
    ):
        with pytest.raises(DataError, match=message):
            stage("merge", tmp_path / "out", model=wrong, adapter=[trained])
    (trained / manifest.NAME).unlink()
    with pytest.raises(DataError, match=r"holds new rows of .* that do not fit|its update of "):
        stage("merge", tmp_path / "out", model=random_model(tmp_path / "wide", toy.extended, hidden_size=128),
              adapter=[trained])  # fmt: skip
    assert not (tmp_path / "out").exists()
    merged = stage("merge", tmp_path / "out", model=shutil.copytree(toy.resized, tmp_path / "copy"), adapter=[trained])
    assert np.isfinite(manifest.read(merged).metrics["logit_scale"])  # type: ignore[union-attr]


TRAINED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "gaussian": {"init": "gaussian"},
    "rsLoRA": {"rslora": True},
    "DoRA": {"dora": True},
    "PiSSA": {"init": "pissa"},
    "PiSSA, fast": {"init": "pissa-fast"},
    "OLoRA": {"init": "olora"},
    "PiSSA, rsLoRA": {"init": "pissa", "rslora": True},
    "PiSSA, DoRA": {"init": "pissa", "dora": True},
    "OLoRA, DoRA, rsLoRA": {"init": "olora", "dora": True, "rslora": True},
}


@pytest.mark.parametrize("what", ["lora", "new-rows+lora"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_merged_is_what_was_trained(toy: Toy, tmp_path: Path, variant: str, what: str) -> None:
    """Every way to train LoRA, in float32: logits of the merged model are those of the model in training."""
    settings = LoraSettings(4, 12.0, 0.0, TRAINED, **VARIANTS[variant])
    trainee = Trainee(toy.resized, torch.float32, torch.device("cpu"))
    trainee.make_trainable(what, settings, seed=1)
    untrained = [own_logits(trainee, row) for row in IDS]
    (base,) = logits(toy.resized, IDS[:1])
    torch.testing.assert_close(untrained[0], base, rtol=0, atol=1e-4)  # whatever the start, it is the base
    start = Start.of(trainee)
    trained(trainee, toy).eval()
    start.prove(trainee, Processes("cpu"))
    folder = tmp_path / "adapter"
    folder.mkdir()
    trainee.save(folder)
    assert trainee.unlike_saved(folder) == []
    saved = json.loads((folder / "adapter_config.json").read_text())
    assert (saved["r"], saved["init_lora_weights"]) == (
        8 if settings.init in CHANGE_BASE else 4,
        "gaussian" if settings.init == "gaussian" else True,
    )
    out = stage("merge", tmp_path / "out", model=toy.resized, adapter=[folder])
    for row, before, found in zip(IDS, untrained, logits(out, IDS), strict=True):
        wanted = own_logits(trainee, row)
        assert (wanted - before).abs().max() > 0.02, "nothing was learnt"
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


FOUR_BIT: dict[str, dict[str, Any]] = {
    "default": {},
    "DoRA": {"dora": True},
    "PiSSA": {"init": "pissa"},
    "LoftQ": {"init": "loftq"},
    "LoftQ, DoRA, rsLoRA": {"init": "loftq", "dora": True, "rslora": True},
}


def with_unrounded_base(trainee: Trainee, model: Path) -> Trainee:
    """The same model with what NF4 rounded as it was: the original weights, less what the start took out of them."""
    weights = load_file(model / "model.safetensors")
    assert trainee.lora is not None
    for name, module in trainee.lora.modules():
        weight = weights[f"{name}.weight"]
        if name in trainee.lora.starts:
            a, b = trainee.lora.starts[name]
            weight = weight - module.scaling["default"] * (b @ a)
        module.base_layer = torch.nn.Linear(*reversed(weight.shape), bias=False)
        module.base_layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    return trainee


@pytest.mark.parametrize("what", ["qlora", "new-rows+qlora"])
@pytest.mark.parametrize("variant", FOUR_BIT)
def test_merged_is_what_was_trained_in_four_bits_but_for_their_rounding(
    toy: Toy, tmp_path: Path, variant: str, what: str
) -> None:
    settings = LoraSettings(4, 12.0, 0.0, TRAINED, **FOUR_BIT[variant])
    trainee = Trainee(toy.resized, torch.float32, torch.device("cpu"), four_bit=torch.float32)
    trainee.make_trainable(what, settings, seed=1)
    trained(trainee, toy).eval()
    folder = tmp_path / "adapter"
    folder.mkdir()
    trainee.save(folder)
    assert trainee.unlike_saved(folder) == []
    out = stage("merge", tmp_path / "out", model=toy.resized, adapter=[folder])
    rounded = own_logits(trainee, IDS[0])
    with_unrounded_base(trainee, toy.resized)
    for row, found in zip(IDS, logits(out, IDS), strict=True):
        torch.testing.assert_close(found, own_logits(trainee, row), rtol=0, atol=1e-4)
    assert 1e-3 < (rounded - own_logits(trainee, IDS[0])).abs().max() < 0.5


@pytest.mark.parametrize(("start", "four_bit"), [("pissa", False), ("olora", False), ("loftq", True)])
@pytest.mark.parametrize("wrong", ["alpha", "sign"])
def test_an_adapter_that_does_not_undo_its_start_is_found_when_it_is_saved(
    toy: Toy, tmp_path: Path, start: str, four_bit: bool, wrong: str
) -> None:
    trainee = Trainee(toy.resized, torch.float32, torch.device("cpu"), torch.float32 if four_bit else None)
    trainee.make_trainable("qlora" if four_bit else "lora", LoraSettings(16, 32.0, 0.0, TRAINED, init=start), seed=1)
    trained(trainee, toy)
    assert trainee.lora is not None
    if wrong == "sign":
        trainee.lora.starts = {name: (a, -b) for name, (a, b) in trainee.lora.starts.items()}
    trainee.save(tmp_path)
    if wrong == "alpha":
        with_setting(lora_alpha=32)(tmp_path)
    found = trainee.unlike_saved(tmp_path)
    assert len(found) >= 10 and found[0] == "adapter_model.safetensors model.layers.0.self_attn.q_proj.weight"
