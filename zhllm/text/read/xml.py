"""XML as a stream of events, safe against what a hostile file may declare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from lxml import etree

from zhllm.text.document import UnreadableError


def xml_events(file: BinaryIO, events: tuple[str, ...]) -> Iterator[tuple[str, etree._Element]]:
    """The events of an XML file, read as a stream; raises UnreadableError where it is damaged.

    Entities are never expanded and nothing else is fetched; libxml2's own limits on depth (256) and on
    one text (10 MB) hold. A DTD is refused: the formats read here have none, so it is an attack.
    """
    parser = etree.iterparse(file, events, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    first = True
    try:
        for event, element in parser:
            if first and element.getroottree().docinfo.doctype:
                raise UnreadableError("declares a DTD, which no such file does; it may be an attack")
            first = False
            yield event, element
    except etree.XMLSyntaxError as error:
        raise UnreadableError(f"its XML is damaged ({error})") from error
