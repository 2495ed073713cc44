"""Narratives: `text.div` is a string in JSON and markup in XML (FHIR R4, narrative.html).

Both ways the markup keeps its own bytes wherever that makes a sound document: an XML writer is free to turn
`<a name="x"></a>` into `<a name="x"/>`, and a web page that shows the latter swallows what follows it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from html import escape
from html.entities import name2codepoint
from typing import Final

from lxml import etree

XHTML: Final = "http://www.w3.org/1999/xhtml"
XHTML_DIV: Final = f"{{{XHTML}}}div"

_ELEMENT = re.compile(r"<[A-Za-z_]")  # and no XML declaration, which cannot stand inside a document
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_DECLARED = re.compile(r"<div[^>]*\sxmlns\s*=")
_NAMED_ENTITY = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_XML_ENTITIES = frozenset({"amp", "lt", "gt", "quot", "apos"})
_MARKUP = re.compile(
    r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"  # what only looks like a tag in there is none
    r"|(?P<close></(?:[\w.\-]+:)?div\s*>)"
    r"|(?P<open><(?:[\w.\-]+:)?div(?:\s(?:[^>\"']|\"[^\"]*\"|'[^']*')*?)?(?P<empty>/)?>)",
    re.DOTALL,
)


def hardened_parser() -> etree.XMLParser:
    """A parser that reads UTF-8 only and neither loads, resolves nor fetches anything."""
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
        recover=False,
    )


def narrative_to_xml(div: str) -> str:
    """The markup for a `div`: as it stands where it is well-formed XHTML, else as escaped text in a `div`.

    HTML's named entities, which XML does not know, become numeric ones; a missing namespace is added.
    """
    text = _NAMED_ENTITY.sub(_numeric, div.strip())
    root = _parse(text) if _ELEMENT.match(text) and "<!DOCTYPE" not in text else None
    if root is not None and root.tag == XHTML_DIV:
        return text
    if root is not None and root.tag == "div" and _DECLARED.match(text) is None:
        return f'<div xmlns="{XHTML}"{text[4:]}'
    shown = escape(_NOT_XML.sub("\ufffd", div), quote=False)
    return f'<div xmlns="{XHTML}">{shown}</div>'


def fold_narratives(root: etree._Element, source: str) -> None:
    """Give every narrative of a parsed resource an attribute `value`: its text in `source`."""
    nodes = [node for node in root.iter("{*}div") if next(node.iterancestors("{*}div"), None) is None]
    if not nodes:
        return
    for node, text in zip(nodes, _outer_divs(source), strict=True):
        if node.tag == XHTML_DIV:
            parsed = _parse(text)  # on its own: it may use a prefix that was declared further out
            alone = parsed is not None and parsed.tag == XHTML_DIV
            node.set("value", text if alone else _serialised(node))


def _outer_divs(source: str) -> Iterator[str]:
    """The text of each outermost `div` of a well-formed document, in order."""
    depth = start = 0
    for tag in _MARKUP.finditer(source):
        if tag["close"]:
            depth -= 1
            if depth == 0:
                yield source[start : tag.end()]
        elif tag["open"]:
            if depth == 0:
                start = tag.start()
            if not tag["empty"]:
                depth += 1
            elif depth == 0:
                yield tag[0]


def _serialised(div: etree._Element) -> str:
    copied = copy.deepcopy(div)
    etree.cleanup_namespaces(copied)
    return str(etree.tostring(copied, encoding="unicode", with_tail=False))


def _numeric(match: re.Match[str]) -> str:
    name = match[1]
    known = name in name2codepoint and name not in _XML_ENTITIES
    return f"&#{name2codepoint[name]};" if known else match[0]


def _parse(text: str) -> etree._Element | None:
    try:
        return etree.fromstring(text.encode(), hardened_parser())
    except (etree.XMLSyntaxError, UnicodeEncodeError):
        return None
