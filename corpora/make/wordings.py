"""Question wordings for every fact: the training ones and the unseen test ones."""

from corpora.make.ask import Ask
from corpora.make.asks_faq import FAQ_ASKS
from corpora.make.asks_handbook import HANDBOOK_ASKS
from corpora.make.asks_manuals import MANUALS_ASKS
from corpora.make.asks_notices import NOTICES_ASKS
from corpora.make.facts import FACTS, Fact

ASKS: dict[str, Ask] = {**HANDBOOK_ASKS, **MANUALS_ASKS, **FAQ_ASKS, **NOTICES_ASKS}

FIXED_FRAMES: tuple[str, ...] = (
    "{first}？",
    "{second}？",
    "{noun}{wh}？",
    "请问{first}？",
)
ROTATING_FRAMES: tuple[str, ...] = (
    "我想知道{second}。",
    "麻烦告诉我{first}。",
    "能帮我查一下{noun}吗？",
    "{noun}？",
    "你好，{second}？",
    "想问一下，{noun}{wh}？",
    "有人知道{first}吗？",
    "请告诉我{noun}。",
    "不好意思，请问{second}？",
    "我不清楚{second}，请说明一下。",
    "麻烦查一下{first}。",
    "按公司资料，{noun}{wh}？",
)
ROTATING_COUNT = 8
TEST_FRAME = "新来的同事打听{noun}，怎么回答他？"
TEST_FRAME_EVERY = 4

_POSITIONS: dict[str, int] = {fact.id: position for position, fact in enumerate(FACTS)}


def _fill(frame: str, ask: Ask) -> str:
    return frame.format(noun=ask.noun, wh=ask.wh, first=ask.first, second=ask.second)


def training_wordings(fact: Fact) -> tuple[str, ...]:
    """The wordings a model may be trained on, each one different, in a fixed order."""
    ask = ASKS[fact.id]
    start = _POSITIONS[fact.id] * 5
    rotating = tuple(ROTATING_FRAMES[(start + step) % len(ROTATING_FRAMES)] for step in range(ROTATING_COUNT))
    texts = (_fill(frame, ask) for frame in FIXED_FRAMES + rotating)
    return tuple(dict.fromkeys(texts))


def unseen_wordings(fact: Fact) -> tuple[str, ...]:
    """The one or two wordings kept for the test questions only."""
    ask = ASKS[fact.id]
    if _POSITIONS[fact.id] % TEST_FRAME_EVERY == 0:
        return (ask.test, _fill(TEST_FRAME, ask))
    return (ask.test,)
