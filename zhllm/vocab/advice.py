"""Whether to extend a base, and by how many pieces: the sizes measured, and the rule that chooses among them.

Extension is an efficiency feature: fewer tokens for the same text against more rows to hold, to multiply
with and to teach. So each size has its characters per token on held-out text, its parameters, its compute
per character, and how often the model would see its rarest piece.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zhllm.errors import DataError
from zhllm.vocab.bases import Base
from zhllm.vocab.byte_level import ByteLevelBase, whole_text
from zhllm.vocab.extend import FORBIDDEN_SIZES, Extension, SentencePieceBase
from zhllm.vocab.measure import compression
from zhllm.vocab.pieces import Piece

# A new row is learnt from its own occurrences only. How many it takes is this project's rule of thumb, not a
# measurement.
MIN_SEEN = 200
# Every downstream file, cache and adapter changes with the tokenizer; fewer new characters in a window do not
# pay for that. On 22 million characters of statutes, manuals, textbooks and poetry, Llama-3 gained 19 % with
# +4,000 pieces and 31 % with +24,000, Llama-2 60 % and 84 %.
MIN_GAIN = 0.30
# The gain flattens: on that text +7,000 pieces brought Llama-2 nine tenths of what +24,000 saved.
ENOUGH_OF_THE_FALL = 0.9
# Embedding rows as most models store and train them (bfloat16).
BYTES_PER_PARAMETER = 2
# Attention is counted at this length, or at the model's own where that is shorter.
CONTEXT_TOKENS = 4096
# Characters that can become pieces: as many as there are standard ones.
MAX_CHARACTERS = 8105
MIN_COUNT = 2
MAX_PIECE_CHARS = 8


@dataclass(frozen=True)
class Shape:
    """What of a decoder's config decides its parameters and compute."""

    hidden_size: int
    layers: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    context: int

    @classmethod
    def of_config(cls, config: Mapping[str, Any], where: str) -> Shape:
        """The shape in a config.json; DataError where a Llama-like one is not described there."""
        names = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
        missing = [name for name in names if not isinstance(config.get(name), int)]
        if missing:
            raise DataError(f"{where}: its config names no {', '.join(missing)}, so its compute is not known.")
        hidden, layers, intermediate, heads = (int(config[name]) for name in names)
        return cls(
            hidden_size=hidden,
            layers=layers,
            intermediate_size=intermediate,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            tied=bool(config.get("tie_word_embeddings", False)),
            context=min(CONTEXT_TOKENS, int(config.get("max_position_embeddings") or CONTEXT_TOKENS)),
        )

    @property
    def non_embedding_parameters(self) -> int:
        """Parameters without embeddings and head: attention, gated MLP and norms of a Llama."""
        attention = 2 * self.hidden_size * self.head_dim * (self.heads + self.kv_heads)
        mlp = 3 * self.hidden_size * self.intermediate_size
        return self.layers * (attention + mlp + 2 * self.hidden_size) + self.hidden_size

    def vocabulary_parameters(self, ids: int) -> int:
        """Parameters of the rows of `ids` ids: embedding, and head where it has its own."""
        return ids * self.hidden_size * (1 if self.tied else 2)

    def flops_per_token(self, ids: int) -> float:
        """Forward FLOPs of a token: two for each weight and each head row, and attention over half the context.

        Attention: two products of 2 x head_dim x heads FLOPs for each key, context / 2 keys on average.
        """
        attention = 2 * self.layers * self.context * self.heads * self.head_dim
        return 2.0 * self.non_embedding_parameters + 2.0 * self.hidden_size * ids + attention


# Llama-2-7B as published (meta-llama/Llama-2-7b, config.json).
LLAMA2_7B = Shape(4096, 32, 11008, 32, 32, 128, False, 4096)


@dataclass(frozen=True)
class Option:
    """One size: what was added and what it does. `gain` is in characters per token over the base."""

    asked: int
    added: int
    characters: int
    chars_per_token: float
    gain: float
    context_chars: int
    added_parameters: int
    added_bytes: int
    flops_per_char: float
    rarest_piece: str | None
    rarest_seen: float


@dataclass(frozen=True)
class Advice:
    """The verdict: how many pieces to add (0: do not extend), and why."""

    extend_with: int
    reasons: list[str]

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        return f"extend with {self.extend_with}" if self.extend_with else "do not extend"


def best_pieces(pieces: Sequence[Piece], size: int) -> list[Piece]:
    """The `size` pieces that are formed most often, in the order in which they were learnt.

    No piece is taken before its parts, which are formed at least as often. (A character saves two tokens
    where a base has only its bytes. Counting it double gave Llama-2 0.1-0.5 % more characters per token on
    the text above, and a rarest piece that is seen 0.6 times as often.)
    """
    by_count = sorted(range(len(pieces)), key=lambda k: (-pieces[k].count, k))
    return [pieces[k] for k in sorted(by_count[:size])]


def extended(base: Base, pieces: Sequence[Piece], size: int) -> tuple[Base, list[str]]:
    """The base with at most `size` pieces, joins among them, as a tokenizer to measure; and the added texts."""
    room = size - (base.size + size in FORBIDDEN_SIZES)
    extension = base.extend([piece.text for piece in pieces], None, (), room)
    if isinstance(extension, Extension):
        return SentencePieceBase(extension.model), extension.added
    texts = (whole_text(token) for token in extension.added)
    return ByteLevelBase(extension.content, extension.config, ""), [text for text in texts if text is not None]


def measure_sizes(
    base: Base,
    pieces: Sequence[Piece],
    sizes: Sequence[int],
    held_out: Sequence[str],
    shape: Shape,
    seen: Callable[[int, float], float],
) -> list[Option]:
    """The base (size 0) and each size in rising order, as far as `pieces` reach.

    `seen` gives from a piece's count and the characters per token how often the model will see it.
    """
    options = [_option(0, base, [], base, held_out, shape, seen)]
    for size in sorted({min(size, len(pieces)) for size in sizes if pieces}):
        chosen = best_pieces(pieces, size)
        tokenizer, added = extended(base, chosen, size)
        options.append(_option(size, tokenizer, _of_texts(chosen, added), base, held_out, shape, seen, options[0]))
    return options


def _of_texts(pieces: Sequence[Piece], texts: Sequence[str]) -> list[Piece]:
    """The pieces that were added; joins besides them are formed at least as often as what they help to form."""
    added = set(texts)
    return [piece for piece in pieces if piece.text in added]


def _option(
    size: int,
    tokenizer: Base,
    added: Sequence[Piece],
    base: Base,
    held_out: Sequence[str],
    shape: Shape,
    seen: Callable[[int, float], float],
    before: Option | None = None,
) -> Option:
    measured = compression(tokenizer, held_out)
    new = tokenizer.size - base.size
    rarest = min(added, key=lambda piece: piece.count, default=None)
    ratio = measured.chars_per_token
    return Option(
        asked=size,
        added=new,
        characters=sum(len(piece.text) == 1 for piece in added),
        chars_per_token=ratio,
        gain=ratio / before.chars_per_token - 1 if before is not None else 0.0,
        context_chars=int(shape.context * ratio),
        added_parameters=shape.vocabulary_parameters(new),
        added_bytes=shape.vocabulary_parameters(new) * BYTES_PER_PARAMETER,
        flops_per_char=shape.flops_per_token(tokenizer.size) / ratio,
        rarest_piece=rarest.text if rarest is not None else None,
        rarest_seen=seen(rarest.count, ratio) if rarest is not None else 0.0,
    )


def choose(options: Sequence[Option], min_gain: float = MIN_GAIN) -> Advice:
    """The verdict on measured sizes, the base first.

    Of the sizes whose rarest piece will be seen MIN_SEEN times, the smallest that reaches
    ENOUGH_OF_THE_FALL of the largest fall in FLOPs per character among them; none, where that gains less
    than `min_gain` characters per token or nothing falls.
    """
    before, *larger = options
    if not larger:
        return Advice(0, ["the corpus holds no piece that the base lacks."])
    taught = [option for option in larger if option.rarest_seen >= MIN_SEEN]
    if not taught:
        last = larger[-1]
        return Advice(0, [_too_rare(larger[0]), f"(Seen often enough, +{last.added:,} would gain {last.gain:.0%}.)"])
    falls = {option.asked: before.flops_per_char - option.flops_per_char for option in taught}
    most = max(falls.values())
    best = next(option for option in taught if falls[option.asked] >= most * (ENOUGH_OF_THE_FALL if most > 0 else 1))
    numbers = f"{before.chars_per_token:.3f} to {best.chars_per_token:.3f} characters a token ({best.gain:+.1%})"
    if most <= 0:
        return Advice(0, [f"no size saves compute: +{best.added:,} goes from {numbers}, but the head grows by more."])
    if best.gain < min_gain:
        return Advice(0, [f"+{best.added:,} pieces go from {numbers}, less than the {min_gain:.0%} that make a new "
                          "tokenizer worth its price; the base cuts this text well enough."])  # fmt: skip
    saved = 1 - best.flops_per_char / before.flops_per_char
    reasons = [
        f"{numbers}: a window holds {best.gain:.0%} more text, and a character costs {saved:.0%} less compute.",
        f"its rarest piece will be seen {best.rarest_seen:,.0f} times (at least {MIN_SEEN}), and no smaller size "
        f"reaches {ENOUGH_OF_THE_FALL:.0%} of the most that any of them saves.",
    ]
    return Advice(best.added, reasons)


def _too_rare(smallest: Option) -> str:
    seen = smallest.rarest_seen
    times = f"{MIN_SEEN / seen:,.1f} times as much text" if seen else "much more text"
    return (
        f"with only +{smallest.added:,} pieces the rarest is seen {seen:,.0f} times in the planned budget, {MIN_SEEN} "
        f"are needed. Plan {times} (--budget-tokens), try smaller --sizes, or add few pieces of vocab/zh_general."
    )
