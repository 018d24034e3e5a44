"""Subjects that the known sets have, by the names of their files: title and categories of CMMLU, C-Eval and MMLU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

# MMLU's subjects by its four categories (Hendrycks et al. 2021); their titles are their names.
MMLU = {
    "STEM": """abstract_algebra astronomy college_biology college_chemistry college_computer_science
        college_mathematics college_physics computer_security conceptual_physics electrical_engineering
        elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science
        high_school_mathematics high_school_physics high_school_statistics machine_learning anatomy""",
    "Humanities": """formal_logic high_school_european_history high_school_us_history high_school_world_history
        international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory
        professional_law world_religions""",
    "Social sciences": """econometrics high_school_geography high_school_government_and_politics
        high_school_macroeconomics high_school_microeconomics high_school_psychology human_sexuality
        professional_psychology public_relations security_studies sociology us_foreign_policy""",
    "Other": """business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing
        medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology""",
}


@cache
def known_subjects() -> dict[str, dict[str, Any]]:
    """Title and categories of the subjects of CMMLU and C-Eval, by file name."""
    text = (resources.files("zhllm.evals") / "subjects.json").read_text(encoding="utf-8")
    known: dict[str, dict[str, Any]] = json.loads(text)
    return known


@cache
def mmlu_categories() -> dict[str, str]:
    """The category of each subject of MMLU."""
    return {name: category for category, names in MMLU.items() for name in names.split()}


def title_of(name: str, in_english: bool) -> str | None:
    """What a subject is called in a prompt; None for one of no known set: a file's name is no part of a question."""
    if in_english:
        return name.replace("_", " ") if name in mmlu_categories() else None
    title: str | None = known_subjects().get(name, {}).get("title")
    return title


def categories_of(name: str) -> Sequence[str]:
    """The categories that a subject counts in."""
    if name in known_subjects():
        found: Sequence[str] = known_subjects()[name]["categories"]
        return found
    return [mmlu_categories()[name]] if name in mmlu_categories() else []
