"""Answers of a batch that sequences join and leave: those that each would get alone; adapters by row: as peft's."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import byte_level_tokenizer, random_model

from zhllm.errors import ConfigError, DataError, StageError
from zhllm.infer.batching import Batcher
from zhllm.infer.live_adapters import LiveAdapters
from zhllm.infer.probe import adapted_logits, logits_of
from zhllm.infer.sampling import Sampling, draw, until_stop, without_tail
from zhllm.model.transformers_model import open_model

CONTEXT = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("batching")
    return random_model(root / "model", byte_level_tokenizer(root / "tokenizer"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return open_model(folder)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    rng = random.Random(0)
    return [[rng.randrange(500) for _ in range(rng.randint(1, 60))] for _ in range(20)]


def alone(model: Any, prompt: list[int], count: int, end: int) -> list[int]:
    """The likeliest continuation by one whole forward pass a token: slow and plain."""
    ids = list(prompt)
    while len(ids) < len(prompt) + count:
        with torch.no_grad():
            token = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token == end:
            break
        ids.append(token)
    return ids[len(prompt) :]


@pytest.fixture(scope="module")
def wanted(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    return [alone(model, prompt, 30, 3) for prompt in prompts]


@pytest.fixture(params=[0, 3], ids=["nothing kept", "three kept"])
def batcher(request: pytest.FixtureRequest, model: Any) -> Iterator[Batcher]:
    with Batcher(model, [3], CONTEXT, width=4, keep=request.param) as made:
        yield made


def test_each_answer_is_what_it_would_be_alone(
    batcher: Batcher, prompts: list[list[int]], wanted: list[list[int]]
) -> None:
    found: dict[int, list[int]] = {}
    finish: dict[int, str | None] = {}

    def ask(number: int) -> None:
        asked = batcher.submit(prompts[number], Sampling(max_tokens=30))
        found[number], finish[number] = list(asked), asked.finish

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(len(prompts))] == wanted
    assert [finish[n] for n in range(len(prompts))] == ["length" if len(w) == 30 else "stop" for w in wanted]
    # A conversation that goes on: what is kept of its beginning changes nothing.
    goes_on = [list(batcher.submit(p + w[:10], Sampling(max_tokens=20))) for p, w in zip(prompts, wanted, strict=True)]
    assert goes_on == [w[10:] for w in wanted]


def test_an_answer_that_nobody_wants_makes_room(batcher: Batcher, prompts: list[list[int]]) -> None:
    left = [batcher.submit(prompts[0], Sampling(max_tokens=190)) for _ in range(4)]
    firsts = [next(asked) for asked in left]
    for asked in left:
        asked.close()
    assert len(set(firsts)) == 1 and [list(asked) for asked in left] == [[]] * 4
    assert len(list(batcher.submit(prompts[1], Sampling(max_tokens=5)))) <= 5, "the others still fill the batch"


def test_an_answer_ends_where_the_context_does(model: Any) -> None:
    with Batcher(model, [], CONTEXT) as batcher:
        asked = batcher.submit([5] * 190, Sampling(max_tokens=99))
        assert len(list(asked)) == 10 and asked.finish == "length"
        for prompt in ([], [5] * CONTEXT):
            with pytest.raises(ValueError, match=f"of {len(prompt)} tokens, where 1 to 199 fit"):
                batcher.submit(prompt, Sampling())


def test_a_failure_reaches_everyone_and_the_next_is_served(
    model: Any, prompts: list[list[int]], wanted: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Batcher(model, [3], CONTEXT) as batcher:
        asked = [batcher.submit(prompts[0], Sampling(max_tokens=190)) for _ in range(3)]
        for one in asked:
            next(one)
        monkeypatch.setattr(batcher, "_step", lambda joining: (_ for _ in ()).throw(MemoryError("too large")))
        for one in asked:
            with pytest.raises(MemoryError):
                list(one)
        monkeypatch.undo()
        assert list(batcher.submit(prompts[0], Sampling(max_tokens=30))) == wanted[0]
        last = batcher.submit(prompts[0], Sampling(max_tokens=190))
    with pytest.raises(StageError, match="shutting down"):
        list(last)
    with pytest.raises(StageError, match="shutting down"):
        batcher.submit(prompts[0], Sampling())


def test_draws_follow_seed_and_settings(model: Any, prompts: list[list[int]]) -> None:
    with Batcher(model, [], CONTEXT) as batcher:

        def drawn(**settings: Any) -> list[int]:
            return list(batcher.submit(prompts[0], Sampling(max_tokens=40, **settings)))

        assert drawn(temperature=1.0) == drawn(temperature=1.0) != drawn(temperature=1.0, seed=1)
        likeliest = drawn()
        assert drawn(temperature=1.0, top_k=1) == drawn(temperature=1.0, top_p=1e-6) == likeliest
        assert drawn(temperature=1.0, min_p=1.0) == likeliest
        assert len(set(drawn(frequency_penalty=50.0))) == 40, "a token came twice"
        assert drawn(repeat_penalty=1.5) != likeliest


def test_no_setting_of_one_answer_ends_the_others(
    model: Any, prompts: list[list[int]], wanted: list[list[int]]
) -> None:
    with Batcher(model, [3], CONTEXT) as batcher:
        other = batcher.submit(prompts[0], Sampling(max_tokens=30))
        first = next(other)
        for extreme in ({"temperature": 1e-45}, {"repeat_penalty": 0.01}, {"repeat_penalty": 100.0}, {"seed": 2**70}):
            settings = Sampling(**{"max_tokens": 5, "temperature": 1.0, **extreme})
            made = list(batcher.submit(prompts[1], settings))
            assert made == list(batcher.submit(prompts[1], settings))
            if "temperature" in extreme:
                assert made == wanted[1][:5], "the smallest temperature takes the likeliest"
        assert [first, *other] == wanted[0]


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"repeat_penalty": float("inf")}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} .*: must be"):
        Sampling(**wrong)


def test_penalties_by_hand() -> None:
    logits = torch.tensor([2.0, 1.9, -1.0, 1.0])
    assert draw(logits, [0], [], Sampling(repeat_penalty=2.0), None) == 1
    assert draw(logits, [], [0], Sampling(presence_penalty=0.2), None) == 1
    assert draw(logits, [0], [], Sampling(presence_penalty=9.0), None) == 0, "the prompt is not the answer"
    assert draw(logits, [], [0, 1, 1], Sampling(frequency_penalty=0.08), None) == 0
    assert draw(logits, [0, *[3] * 64], [], Sampling(repeat_penalty=2.0), None) == 0, "too long ago"


@pytest.mark.parametrize(
    ("parts", "stops", "shown", "found"),
    [
        (["你好", "。再", "见"], ["再见"], "你好。", "再见"),
        (["ab", "c"], ["bcd", "x"], "abc", None),
        (["a\n", "\nb"], ["\n\n"], "a", "\n\n"),
        (["xyz"], ["z", "y"], "x", "y"),
        (["a", "b", "ab", "c"], ["abc"], "ab", "abc"),
        (["ab", "a", "b"], ["abx"], "abab", None),
        (["x停", "止y"], ["停止"], "x", "停止"),
        (["a", "停"], ["停止"], "a停", None),
        (["完"], [], "完", None),
    ],
)
def test_stop_strings_are_never_shown(parts: list[str], stops: list[str], shown: str, found: str | None) -> None:
    def collected() -> Iterator[str]:
        ends.append((yield from until_stop(iter(parts), stops)))

    ends: list[str | None] = []
    assert ("".join(collected()), ends) == (shown, [found])


@pytest.mark.parametrize(
    ("parts", "tail", "shown"),
    [
        (["三年。 "], " ", ["三年。"]),
        (["三年。", " "], " ", ["三年。"]),
        (["a", " ", "b", " "], " ", ["a", " b"]),
        (["a  "], " ", ["a "]),
        ([" "], " ", []),
        (["x\n", "\n"], "\n\n", ["x"]),
        (["x\n", "y"], "\n\n", ["x", "\ny"]),
        (["x\n"], "\n\n", ["x", "\n"]),
    ],
)
def test_what_a_format_writes_before_its_end_token_is_not_shown(parts: list[str], tail: str, shown: list[str]) -> None:
    assert list(without_tail(iter(parts), tail)) == shown


def an_adapter(out: Path, folder: Path, seed: int, rows: int = 0, **settings: Any) -> Path:
    """A LoRA adapter as peft saves it, far from its start; with `rows` trained rows of both vocabulary matrices."""
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    tuned = get_peft_model(open_model(folder), LoraConfig(r=4, task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, value in tuned.named_parameters():
            if "lora_" in name or value.requires_grad:
                value.add_(0.3 * torch.randn_like(value))
    tuned.save_pretrained(out)
    if rows:
        names = ("model.embed_tokens.weight", "lm_head.weight")
        save_file({name: torch.randn(rows, 64) for name in names}, out / "new_rows.safetensors")
    return out


def test_every_row_of_a_batch_has_its_own_adapter(folder: Path, tmp_path: Path, prompts: list[list[int]]) -> None:
    paths = {
        "lora": an_adapter(tmp_path / "lora", folder, 1, rows=200, target_modules="all-linear"),
        "dora": an_adapter(tmp_path / "dora", folder, 2, target_modules=["q_proj", "down_proj"], use_dora=True),
        "rows": an_adapter(tmp_path / "rows", folder, 3, rows=30, target_modules=["o_proj"], use_rslora=True),
    }
    model = open_model(folder)
    live = LiveAdapters(model)
    for name, path in paths.items():
        live.add(name, path)
    paths["saved"] = an_adapter(tmp_path / "saved", folder, 4, target_modules=["v_proj"], modules_to_save=["lm_head"])
    live.add("saved", paths["saved"])
    prompt = next(p for p in prompts if len(p) > 20)
    chosen = ["lora", None, "dora", "rows", "saved"]
    live.choose(chosen)
    with torch.no_grad():
        found = model(torch.tensor([prompt] * 5), use_cache=False).logits
    base = logits_of(open_model(folder), [prompt])[0]
    for name, row in zip(chosen, found, strict=True):
        wanted = base if name is None else adapted_logits(folder, [paths[name]], [prompt])[0]
        torch.testing.assert_close(row, wanted, atol=2e-4, rtol=1e-4)
        assert name is None or (wanted - base).abs().max() > 0.3, "the adapter does nothing"
    live.choose([None])
    assert torch.equal(logits_of(model, [prompt])[0], base)


def test_answers_with_different_adapters_in_one_batch(folder: Path, tmp_path: Path, prompts: list[list[int]]) -> None:
    model = open_model(folder)
    live = LiveAdapters(model)
    live.add("a", an_adapter(tmp_path / "a", folder, 1, rows=100, target_modules="all-linear"))
    with Batcher(model, [], CONTEXT, keep=2, choose_rows=live.choose) as batcher:
        alone = [list(batcher.submit(prompts[0], Sampling(max_tokens=20), name)) for name in (None, "a")]
        asked = [batcher.submit(prompts[0], Sampling(max_tokens=20), name) for name in (None, "a", None, "a")]
        assert [list(one) for one in asked] == alone * 2 and alone[0] != alone[1]


def test_an_adapter_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    narrow = random_model(tmp_path / "narrow", folder, hidden_size=32)
    path = an_adapter(tmp_path / "a", narrow, 1, target_modules=["q_proj"])
    with pytest.raises(DataError, match=r"its update of \S+ \(32 x 32\) does not fit this model"):
        LiveAdapters(open_model(folder)).add("a", path)
