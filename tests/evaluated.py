"""Multiple choice for tests: small sets, models on real and byte-level tokenizers, and the slow, plain reference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from toys import byte_level_tokenizer, random_model

from zhllm.evals.choice import Result, prompt_of, wording_for
from zhllm.evals.choice_sets import Choice, Subject
from zhllm.model.transformers_model import open_model
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.sentencepiece_model import load
from zhllm.vocab.tokenizer import Tokenizer

HEADER = ",Question,A,B,C,D,Answer\n"


def write_cmmlu(folder: Path, questions: int = 6, subjects: Sequence[str] = ("chinese_history", "甲")) -> Path:
    """A folder in CMMLU's layout: dev/ with five worked examples each, test/ with some questions."""
    for split, count in (("dev", 5), ("test", questions)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for name in subjects:
            lines = [
                f'{i},"{name}第{i}个仪器，每{3 + i}天{split}校准一次，由谁负责？",'
                f'实验室{i},仓库𠮷{i},"办公室,{i}号",食堂👍🏽{i},{"ABCD"[i % 4]}\n'
                for i in range(count)
            ]
            (folder / split / f"{name}.csv").write_text(HEADER + "".join(lines), encoding="utf-8")
    return folder


def byte_level_model(out: Path, **settings: Any) -> Path:
    """A random model on a byte-level tokenizer that reads long prompts."""
    tokenizer = byte_level_tokenizer(out / "tokenizer")
    return random_model(out / "model", tokenizer, **{"max_position_embeddings": 8192, **settings})


def llama2_model(out: Path, real_data: Path) -> Path:
    """A random model on the real Llama-2 tokenizer."""
    (out / "tokenizer").mkdir(parents=True)
    write_tokenizer(out / "tokenizer", load(real_data / "tokenizers" / "llama2.model"))
    return random_model(out / "model", out / "tokenizer", max_position_embeddings=8192)


def encoder(folder: Path) -> Any:
    """Ids with BOS."""
    tokenizer = Tokenizer(folder)
    bos = tokenizer.special_id("bos")
    return lambda texts: [[bos, *ids] for ids in tokenizer.encode_plain(texts)]


class Plain:
    """One forward pass for each option, of the whole text, in float64 softmax; counts the tokens it computes."""

    def __init__(self, folder: Path) -> None:
        self.model, self.encode, self.tokens = open_model(folder, torch.float32), encoder(folder), 0

    def nats(self, context: str, options: Sequence[str]) -> list[float]:
        """The log-likelihood of each option behind the context."""
        (before,) = self.encode([context])
        found = []
        for ids in self.encode([context + option for option in options]):
            assert ids[: len(before)] == before, "a token straddles the border"
            with torch.inference_mode():
                logits = self.model(torch.tensor([ids]), use_cache=False).logits[0]
            log_p = logits[len(before) - 1 : -1].double().log_softmax(-1)
            self.tokens += len(ids)
            found.append(sum(float(row[token]) for row, token in zip(log_p, ids[len(before) :], strict=True)))
        return found

    def of_result(self, subjects: Sequence[Subject], result: Result) -> list[list[float]]:
        """The same for every question of a result."""
        wording, by_name = wording_for(subjects), {s.name: s for s in subjects}
        found = []
        for item in result.marked:
            prompt = prompt_of(by_name[item.subject], item.choice, item.shots, result.protocol, wording)
            found.append(self.nats(prompt.context, prompt.options))
        return found


def few(subjects: Sequence[Subject], count: int) -> list[Subject]:
    """The first questions of each subject."""
    return [Subject(s.name, s.questions[:count], s.examples) for s in subjects]


def worst(result: Result, reference: Sequence[Sequence[float]]) -> float:
    """The largest difference of a log-likelihood."""
    pairs = zip(result.marked, reference, strict=True)
    return max(abs(a - b) for item, row in pairs for a, b in zip(item.nats, row, strict=True))


def make_oracle(model: Any, tokenizer: Tokenizer, choices: Sequence[Choice], letters: Sequence[int]) -> Any:
    """The model with a hook on its logits that makes the right letter of the question it reads the likeliest.

    `letters` are the ids of the letters as they follow "答案：". A row holds what no other question begins with,
    so questions are known by their ends.
    """
    answers = {choice.question[-18:]: letters[choice.answer] for choice in choices}

    def prefer(module: Any, args: Any, kwargs: Any, out: Any) -> Any:
        for row, ids in enumerate(kwargs["input_ids"].tolist()):
            text = tokenizer.decode(ids)
            last = max(answers, key=text.rfind)
            if last in text:
                out.logits[row, :, answers[last]] += 50.0
        return out

    model.register_forward_hook(prefer, with_kwargs=True)
    return model


def read_scores(folder: Path) -> dict[str, Any]:
    """scores.json."""
    found: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return found
