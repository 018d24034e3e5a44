"""What learns and what stays: split rows against whole matrices, frozen values bit for bit, saved = reloaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from toys import Toy

from zhllm.errors import DataError, ProofError
from zhllm.infer.probe import adapted_logits, logits
from zhllm.model.llama import EMBED, HEAD
from zhllm.model.tensors import Checkpoint
from zhllm.model.transformers_model import open_model
from zhllm.train.loop import Loop, LoopSettings
from zhllm.train.lora import LoraSettings, largest_directions
from zhllm.train.neftune import document_lengths, with_noise
from zhllm.train.optimizers import OptimizerSettings, make_optimizers, set_rate
from zhllm.train.pack.store import TokenSet, read_info, rows_at
from zhllm.train.processes import Processes
from zhllm.train.proof import Start
from zhllm.train.rows import SplitEmbedding
from zhllm.train.schedules import Schedule
from zhllm.train.tally import Measure
from zhllm.train.trainee import Trainee
from zhllm.vocab.token_sizes import token_sizes
from zhllm.vocab.tokenizer import Tokenizer

LORA = LoraSettings(4, 8.0, 0.0, ("q_proj", "v_proj", "down_proj"))
STEPS = 3
CPU = torch.device("cpu")
WHAT = ["all", "embeddings", "embeddings+lora", "lora", "new-rows", "new-rows+lora"]


@pytest.fixture(scope="module")
def tied(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The resized toy with one matrix for embedding and head."""
    return variant(toy.resized, tmp_path_factory.mktemp("tied") / "model", tie=True)


def variant(source: Path, target: Path, tie: bool = False, dtype: torch.dtype = torch.float32) -> Path:
    """A copy of a model directory with tied embeddings, or in another dtype."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("manifest.json"))
    tensors = {n: t.to(dtype) for n, t in load_file(source / "model.safetensors").items() if n != HEAD or not tie}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    name = str(dtype).removeprefix("torch.")
    config |= {"tie_word_embeddings": tie, "dtype": name, "torch_dtype": name}
    (target / "config.json").write_text(json.dumps(config))
    return target


def opened(folder: Path, what: str) -> Trainee:
    trainee = Trainee(folder, torch.float32, CPU)
    trainee.make_trainable(what, LORA, seed=1)
    return trainee


def rows_of(toy: Toy) -> TokenSet:
    return TokenSet(toy.packed, "train", read_info(toy.packed))


def trained(trainee: Trainee, toy: Toy, optimizer: str = "adamw") -> Trainee:
    """After three steps on the toy's packed rows."""
    settings = LoopSettings(Schedule("constant", STEPS, 1, 1.0), OptimizerSettings(optimizer, 0.01, 0.01))
    rows = rows_of(toy)
    measure = Measure.of(token_sizes(Tokenizer(toy.resized)), rows.info.sources)
    steps = [[rows.batch(rows_at(step, 4, len(rows), 0))] for step in range(STEPS)]
    Loop(trainee, trainee.layers, settings, measure, Processes("cpu"), None).run(steps.__getitem__)
    return trainee


def values(trainee: Trainee) -> dict[str, Tensor]:
    """Every value the loss depends on, by name."""
    return {n: p.detach().clone() for n, p in trainee.model.named_parameters()}


def own_logits(trainee: Trainee, ids: list[int]) -> Tensor:
    with torch.no_grad():
        hidden = trainee.model.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0]
        return hidden @ torch.cat([head.detach() for head in trainee.heads]).T


@pytest.mark.parametrize("first_new", [0, 1, 7, 10])
def test_a_split_embedding_is_the_whole_one(first_new: int) -> None:
    whole = torch.randn(11, 6, requires_grad=True)
    split = SplitEmbedding(whole, first_new)
    ids = torch.tensor([[0, 10, 5, first_new], [9, 9, 0, max(0, first_new - 1)]])
    weights = torch.randn(2, 4, 6)
    assert torch.equal(split(ids), functional.embedding(ids, whole))
    (functional.embedding(ids, whole) * weights).sum().backward()
    (split(ids) * weights).sum().backward()
    assert whole.grad is not None and split.new.grad is not None
    torch.testing.assert_close(split.new.grad, whole.grad[first_new:], rtol=1e-6, atol=1e-6)
    assert split.base.grad is None


def test_new_rows_are_float32_where_the_base_is_bf16() -> None:
    split = SplitEmbedding(torch.randn(9, 4).bfloat16(), 6)
    assert (split.base.dtype, split.new.dtype) == (torch.bfloat16, torch.float32)
    assert split(torch.tensor([1, 8])).dtype == torch.bfloat16


@pytest.mark.parametrize("form", ["untied", "tied"])
def test_gradients_of_new_rows_are_those_of_the_whole_matrices(toy: Toy, tied: Path, form: str) -> None:
    folder = tied if form == "tied" else toy.resized
    batch = rows_of(toy).batch(range(6))
    whole, split = opened(folder, "all"), opened(folder, "new-rows")
    losses = []
    for trainee in (whole, split):
        loss, _ = trainee.loss_sum(batch)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=0)
    first = json.loads((folder / "extension.json").read_text())["base_vocab_size"]
    expected = {n: p.grad for n, p in whole.model.named_parameters() if n in (EMBED, HEAD)}
    assert list(split.new_rows()) == list(expected) == ([EMBED] if form == "tied" else [EMBED, HEAD])
    for name, grad in expected.items():
        limit = 1e-5 * float(grad.abs().max())
        torch.testing.assert_close(split.new_rows()[name].grad, grad[first:], rtol=0, atol=limit)


def test_new_rows_with_lora_move_nothing_else(toy: Toy, tmp_path: Path) -> None:
    trainee = opened(toy.resized, "new-rows+lora")
    before = values(trainee)
    after = values(trained(trainee, toy))
    new_rows = {"model.embed_tokens.new", "lm_head.new"}
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == new_rows | {name for name in before if "lora_" in name}
    assert sum("lora_" in name for name in moved) == 2 * 2 * len(LORA.target_modules)
    # Every head row is in every softmax; an embedding row moves once its token was read.
    rows = rows_of(toy)
    read = torch.cat([rows.batch(rows_at(step, 4, len(rows), 0)).input_ids for step in range(STEPS)]).unique()
    first = len(after["lm_head.base"])
    rows_moved = (after["model.embed_tokens.new"] != before["model.embed_tokens.new"]).any(1).nonzero()[:, 0] + first
    pad = rows.pad_id  # read, but nothing depends on it
    assert set(rows_moved.tolist()) == {i for i in read.tolist() if i >= first} - {pad}
    assert (after["lm_head.new"] != before["lm_head.new"]).any(1).all()

    trainee.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "new_rows.safetensors",
    ]  # fmt: skip
    assert all("lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))
    saved = load_file(tmp_path / "new_rows.safetensors")
    assert torch.equal(saved[EMBED], after["model.embed_tokens.new"]) and torch.equal(saved[HEAD], after["lm_head.new"])


@pytest.mark.parametrize("form", ["untied", "tied"])
@pytest.mark.parametrize("what", WHAT)
def test_what_is_saved_is_what_was_trained(toy: Toy, tied: Path, tmp_path: Path, what: str, form: str) -> None:
    folder = tied if form == "tied" else toy.resized
    trainee = trained(opened(folder, what), toy)
    trainee.save(tmp_path)
    if what == "all":
        shutil.copyfile(folder / "config.json", tmp_path / "config.json")
        (found,) = logits(tmp_path, [[1, 5, 9, 560]])
    else:
        (found,) = adapted_logits(folder, [tmp_path], [[1, 5, 9, 560]])
    torch.testing.assert_close(found, own_logits(trainee, [1, 5, 9, 560]), rtol=1e-5, atol=1e-5)
    (untrained,) = logits(folder, [[1, 5, 9, 560]])
    assert (found - untrained).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("what", "moves"),
    [
        ("all", {"embed", "head", "layers", "norm"}),
        ("embeddings", {"embed", "head"}),
        ("embeddings+lora", {"embed", "head", "lora"}),
        ("lora", {"lora"}),
        ("new-rows", {"embed", "head"}),
    ],
)
def test_each_choice_moves_its_own_parts(toy: Toy, what: str, moves: set[str]) -> None:
    def part(name: str) -> str:
        kinds = {"lora": "lora_", "embed": "embed_tokens", "head": "head", "layers": "layers", "norm": "norm"}
        return next(kind for kind, mark in kinds.items() if mark in name)

    trainee = opened(toy.resized, what)
    before = values(trainee)
    after = values(trained(trainee, toy))
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert {part(name) for name in moved} == moves
    names = set(trainee.named_trainable())
    assert {part(name) for name in names} == moves and (what != "all" or names == {f"model.{n}" for n in before})


def test_the_proof_sees_a_frozen_value_that_moved(toy: Toy) -> None:
    """Also in the rows of the head that are in use."""
    for what in ("new-rows", "lora"):
        trainee = opened(toy.resized, what)
        start = Start.of(trainee)
        with torch.no_grad():
            trainee.heads[0][7, 3] += 1e-6
        with pytest.raises(ProofError, match="a frozen parameter changed"):
            start.prove(trainee, Processes("cpu"))


def test_the_proof_sees_what_did_not_learn(toy: Toy) -> None:
    trainee = opened(toy.resized, "new-rows")
    start = Start.of(trainee)
    with torch.no_grad():
        trainee.new_rows()[EMBED] += 1
    with pytest.raises(ProofError, match=r"1 trainable parameters did not move, e\.g\. \['model\.lm_head"):
        start.prove(trainee, Processes("cpu"))


@pytest.mark.parametrize("what", WHAT)
def test_what_was_saved_is_compared_with_what_was_trained(toy: Toy, tmp_path: Path, what: str) -> None:
    trainee = opened(toy.resized, what)
    trainee.save(tmp_path)
    assert trainee.unlike_saved(tmp_path) == []
    with torch.no_grad():
        next(iter(trainee.named_trainable().values())).view(-1)[0] += 1
    assert len(trainee.unlike_saved(tmp_path)) == 1


def test_base_rows_are_not_held_twice(toy: Toy) -> None:
    trainee = Trainee(toy.resized, torch.float32, CPU)
    before = [trainee.model.get_input_embeddings().weight.data_ptr(), trainee.heads[0].data_ptr()]
    trainee.make_trainable("new-rows", LORA, seed=1)
    assert [trainee.model.get_input_embeddings().base.data_ptr(), trainee.heads[0].data_ptr()] == before


def test_new_rows_of_a_model_that_has_none_are_refused(toy: Toy) -> None:
    with pytest.raises(DataError, match=r"base: has no extension\.json.*resize wrote, or --trainable lora"):
        opened(toy.base, "new-rows+lora")


def test_the_seed_draws_the_same_lora_matrices(toy: Toy) -> None:
    first, second = (values(opened(toy.resized, "lora")) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_bf16_base_trained_whole_is_saved_as_bf16(toy: Toy, tmp_path: Path) -> None:
    """config.json says how to read the weights, so weights of another dtype would be rounded in silence."""
    half = variant(toy.resized, tmp_path / "base", dtype=torch.bfloat16)
    trainee = trained(opened(half, "all"), toy)
    (tmp_path / "out").mkdir()
    trainee.save(tmp_path / "out")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}
    expected = {n: p.detach().bfloat16() for n, p in trainee.model.named_parameters()}
    assert all(torch.equal(saved[name], value) for name, value in expected.items())


TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_starts_are_those_of_peft(toy: Toy, init: str) -> None:
    """Directions may have the other sign: products and what is left of the base are compared."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_alpha=12, target_modules=list(TARGETS), init_lora_weights=init)
    theirs = get_peft_model(open_model(toy.resized, torch.float32), config)
    trainee = Trainee(toy.resized, torch.float32, CPU)
    trainee.make_trainable("lora", LoraSettings(4, 12.0, 0.0, TARGETS, init=init), seed=1)
    assert trainee.lora is not None
    modules = dict(trainee.lora.modules())
    assert len(modules) == 14
    for name, module in modules.items():
        other = theirs.get_submodule(f"base_model.model.{name}")
        products = [m.lora_B["default"].weight @ m.lora_A["default"].weight for m in (module, other)]
        torch.testing.assert_close(products[0], products[1], rtol=0, atol=1e-5)
        torch.testing.assert_close(module.base_layer.weight, other.base_layer.weight, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(48, 32), (32, 48), (32, 32)])
@pytest.mark.parametrize("rank", [1, 7, 32])
def test_largest_directions_are_those_of_the_svd(shape: tuple[int, int], rank: int) -> None:
    torch.manual_seed(0)
    for weight in (torch.randn(shape), torch.randn(shape[0], 5) @ torch.randn(5, shape[1]), torch.zeros(shape)):
        u, s, v = largest_directions(weight, rank)
        wanted = torch.linalg.svd(weight.double(), full_matrices=False)
        best = (wanted.U[:, :rank] * wanted.S[:rank]) @ wanted.Vh[:rank]
        limit = 1e-6 * max(1.0, float(best.abs().max()))
        torch.testing.assert_close(((u * s) @ v.T).double(), best, rtol=0, atol=limit)
        assert (s[:-1] >= s[1:] - 1e-5).all() and torch.isfinite(u).all()


def test_a_start_with_more_rank_than_a_matrix_has_is_refused(toy: Toy) -> None:
    trainee = Trainee(toy.resized, torch.float32, CPU)
    message = r"--lora-init pissa: model\.layers\.0\.self_attn\.k_proj is 32 x 64 .* Lower --lora-rank to 32"
    with pytest.raises(DataError, match=message):
        trainee.make_trainable("lora", LoraSettings(48, 1.0, 0.0, TARGETS, init="pissa"), seed=1)


@pytest.mark.parametrize("targets", [("q_proj", "wq"), ("lm_head",), ("roj",), ()])
def test_lora_targets_that_do_not_exist_are_refused(toy: Toy, targets: tuple[str, ...]) -> None:
    """peft takes no notice of them where another one exists; a head's LoRA would not be in the loss."""
    trainee = Trainee(toy.resized, torch.float32, CPU)
    with pytest.raises(DataError, match=r"has no linear layer called .* for --lora-targets\. There are: down"):
        trainee.make_trainable("lora", LoraSettings(4, 8.0, 0.0, targets), seed=1)


def test_lora_plus_gives_b_another_rate_and_changes_nothing_else(toy: Toy) -> None:
    named = opened(toy.resized, "new-rows+lora").named_trainable()
    for name in ("adamw", "muon"):
        plain, fast = (make_optimizers(named, OptimizerSettings(name, 0.01, 0.1, ratio)) for ratio in (1.0, 16.0))
        rates = {id(p): (g["peak_lr"], g["weight_decay"]) for o in fast for g in o.param_groups for p in g["params"]}
        before = {id(p): (g["peak_lr"], g["weight_decay"]) for o in plain for g in o.param_groups for p in g["params"]}
        assert len(rates) == len(named) == len(before)
        for key, parameter in named.items():
            rate, decay = before[id(parameter)]
            assert decay == (0.1 if "lora_" in key else 0.0)
            assert rates[id(parameter)] == (0.16 if "lora_B" in key else rate, decay)
        set_rate(fast, 0.5)
        assert {g["lr"] for o in fast for g in o.param_groups} == {0.005, 0.08}


def test_eight_bit_moments_train_as_full_ones_do(toy: Toy) -> None:
    """Matrices of less than 4096 values keep full moments (bitsandbytes' rule); new rows have more."""
    results, before = [], torch.tensor(Checkpoint(toy.resized).f32(EMBED))
    for name in ("adamw", "adamw-8bit"):
        trainee = trained(opened(toy.resized, "embeddings"), toy, name)
        results.append(trainee.new_rows()[EMBED].detach() - before)
    cosine = functional.cosine_similarity(results[0].flatten(), results[1].flatten(), dim=0)
    assert 0.95 < cosine < 1 - 1e-6


POSITIONS = torch.tensor([[0, 1, 2, 0, 1, 0, 0, 0], [0, 1, 2, 3, 4, 5, 6, 7]])


def test_neftune_counts_the_length_of_each_document() -> None:
    assert document_lengths(POSITIONS).tolist() == [[3, 3, 3, 2, 2, 1, 1, 1], [8] * 8]
    torch.manual_seed(0)
    noise = with_noise(torch.zeros(2, 8, 4096), POSITIONS, 5.0)
    highest = 5 / (document_lengths(POSITIONS) * 4096).sqrt()
    assert ((0.99 * highest < noise.abs().amax(-1)) & (noise.abs().amax(-1) <= highest)).all()
    assert noise.mean().abs() < 1e-3
    assert with_noise(torch.zeros(2, 8, 4).bfloat16(), POSITIONS, 5.0).dtype == torch.bfloat16


@pytest.mark.parametrize("what", ["new-rows+lora", "all"])
def test_neftune_makes_noise_in_training_only(toy: Toy, what: str) -> None:
    batch = rows_of(toy).batch(range(4))

    def loss(trainee: Trainee) -> float:
        torch.manual_seed(3)
        return float(trainee.loss_sum(batch)[0].detach())

    quiet, noisy = Trainee(toy.resized, torch.float32, CPU), Trainee(toy.resized, torch.float32, CPU, noise=20.0)
    for trainee in (quiet, noisy):
        trainee.make_trainable(what, LORA, seed=1)
    assert loss(noisy.eval()) == loss(quiet.eval()) == pytest.approx(loss(quiet.train()), rel=1e-6)
    assert loss(noisy.train()) == loss(noisy) != pytest.approx(loss(quiet), rel=1e-4)
    noisy.loss_sum(batch)[0].backward()
    assert all(p.grad is not None for p in noisy.named_trainable().values())
