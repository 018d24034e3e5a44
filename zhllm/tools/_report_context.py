"""What every part of the build report is drawn with: the run, the words of its language, its faults, its links."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from zhllm.page import Html, escape
from zhllm.tools._report_files import Faults
from zhllm.tools._report_run import Remark, Run, Step
from zhllm.tools._report_words import Words


@dataclass(frozen=True)
class Report:
    """A report being made, for a page that will stand in `home`."""

    run: Run
    words: Words
    faults: Faults
    home: Path

    def link(self, path: Path, text: str) -> Html:
        """A link to a file beside the page, relative to it."""
        target = quote(os.path.relpath(path.resolve(), self.home.resolve()).replace(os.sep, "/"), errors="replace")
        return Html(f'<a href="{escape(target)}">{escape(text)}</a>')

    def own_report(self, step: Step) -> Html:
        """A link to the step's own page, where it has one."""
        path = step.folder / "report.html"
        return self.link(path, self.words("full_report")) if path.is_file() else Html("")

    def title(self, step: Step) -> Html:
        """A step's name as a heading, and its own page beside it."""
        own = self.own_report(step)
        beside = f' <span class="note">{own}</span>' if own else ""
        return Html(f"<h3>{escape(step.name)}{beside}</h3>\n")

    def told(self, remark: Remark) -> str:
        """A remark in words."""
        return self.words(remark.key, **remark.values)
