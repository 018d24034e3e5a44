"""All facts about the invented company 澜溪仪器, in a fixed order."""

from corpora.make.fact_type import Fact
from corpora.make.facts_faq import FAQ
from corpora.make.facts_handbook import HANDBOOK
from corpora.make.facts_manuals import MANUALS
from corpora.make.facts_notices import NOTICES

__all__ = ["FACTS", "Fact"]

FACTS: tuple[Fact, ...] = HANDBOOK + MANUALS + FAQ + NOTICES
