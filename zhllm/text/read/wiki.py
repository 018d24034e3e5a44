"""MediaWiki XML dumps: a document per article, read as a stream; what is no article is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from lxml import etree

from zhllm.text.document import Document, Item, Rejected, UnreadableError, json_of, meta_of
from zhllm.text.read.wikitext import wikitext_to_text
from zhllm.text.read.xml import xml_events

# A page of the Wikipedia has up to 2 MB; more small elements than this in one page are an attack.
MAX_PAGE_ELEMENTS = 100_000
_ARTICLES = "0"


@dataclass
class _Page:
    """What is known of the page that is being read; of several revisions the last one counts."""

    line: int
    title: str = ""
    id: str = ""
    space: str = _ARTICLES
    is_redirect: bool = False
    model: str = "wikitext"
    text: str = ""

    def take(self, name: str, element: etree._Element) -> None:
        """Keep what an element inside the page tells."""
        value = element.text or ""
        if name in ("title", "model", "text"):
            setattr(self, name, value)
        elif name == "ns":
            self.space = value.strip()
        elif name == "redirect":
            self.is_redirect = True
        elif name == "id" and not self.id:  # the page's own comes first, then that of the revision
            self.id = value.strip()

    def left_out(self) -> str | None:
        """Why the page is no document, as it is counted."""
        if self.space != _ARTICLES:
            return "pages of other namespaces"
        if self.is_redirect or self.text.lstrip()[:9].lower().startswith(("#redirect", "#重定向")):
            return "redirects"
        return None if self.model == "wikitext" else "pages that are not wikitext"


def read_dump(file: BinaryIO, name: str) -> Iterator[Item]:
    """The articles of a dump as documents, then what was left out, counted, and where it is damaged."""
    counts: Counter[str] = Counter()
    pages = 0
    failure: Rejected | None = None
    try:
        for page in _pages(file):
            pages += 1
            reason = page.left_out()
            if reason is None:
                parsed = wikitext_to_text(page.text)
                reason = None if parsed.text else "pages without text"
            if reason is None:
                meta = json_of(meta_of(title=page.title) | parsed.meta)
                yield Document(f"{name}#{page.id or page.line}", parsed.text, name, meta)
            else:
                counts[reason] += 1
    except NotADumpError as error:
        failure = Rejected(name, "skipped", str(error))
    except UnreadableError as error:
        failure = Rejected(name, "file", f"after {pages} pages {error}")
    if counts:
        told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
        yield Rejected(name, "left out", told)
    if failure is not None:
        yield failure
    elif not pages:
        yield Rejected(name, "skipped", "is a MediaWiki dump without pages")


class NotADumpError(UnreadableError):
    """XML of another kind."""


def _pages(file: BinaryIO) -> Iterator[_Page]:
    page: _Page | None = None
    elements = 0
    for event, element in xml_events(file, ("start", "end")):
        name = str(element.tag).rpartition("}")[2]
        if event == "start":
            if elements == 0 and element.getparent() is None and name != "mediawiki":
                raise NotADumpError(f"is XML, but not a MediaWiki dump (<{name}>)")
            elements += 1
            page = _Page(element.sourceline or 0) if name == "page" else page
            if elements > MAX_PAGE_ELEMENTS:
                raise UnreadableError(f"holds a page of over {MAX_PAGE_ELEMENTS:,} elements, like a bomb")
            continue
        if page is not None:
            page.take(name, element)
        if name in ("page", "revision", "siteinfo"):
            _drop(element)
            elements = 1
        if name == "page" and page is not None:
            yield page
            page = None


def _drop(element: etree._Element) -> None:
    """Free an element and those before it, which the tree would otherwise keep."""
    element.clear()
    parent = element.getparent()
    while parent is not None and len(parent) > 1:
        del parent[0]
