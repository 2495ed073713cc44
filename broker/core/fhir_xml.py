"""FHIR JSON to XML and back (FHIR R4, json.html and xml.html).

Driven by the schema, but lenient: nothing is validated, so that what a manager holds passes unharmed, valid
or not. Elements come out in the order of the specification, those that it does not know after them; numbers
keep their digits, narratives their bytes. Lost is only what XML cannot say: characters outside XML 1.0 become
U+FFFD, keys that are no XML names are left out, and an unknown element comes back as text, as an object, or as a
list where it is there several times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, Final, NoReturn

import orjson
from lxml import etree

from broker.core.fhir_narrative import XHTML_DIV, fold_narratives, hardened_parser, narrative_to_xml
from broker.core.fhir_schema import ANY, Element, Kind, Type, resource_type, type_of
from broker.errors import RequestError

MAX_DEPTH: Final = 64
"""Elements nested deeper than this are refused: no FHIR resource is, and the recursion stays bounded."""

_FHIR: Final = "http://hl7.org/fhir"
_PREFIX: Final = f"{{{_FHIR}}}"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]*")
_SPECIAL = re.compile('[&<>"\x00-\x1f\ud800-\udfff\ufffe\uffff]')
_REFERENCES = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LAST: Final = 1_000_000  # the place of what the specification does not name


class _Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def to_xml(body: bytes) -> bytes:
    """The XML form of a resource in JSON. Raises `RequestError` request.bad-resource where it is none."""
    try:
        resource = json.loads(
            body.decode("utf-8-sig"), parse_float=_Number, parse_int=_Number, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise _bad() from error
    out = ['<?xml version="1.0" encoding="UTF-8"?>']
    _write_resource(out, resource, f' xmlns="{_FHIR}"', 0)
    return "".join(out).encode()


def to_json(body: bytes) -> bytes:
    """The JSON form of a resource in XML.

    Raises `RequestError` request.bad-resource for what is not well-formed, holds a document type or entities,
    is not in FHIR's namespace, or has text where FHIR has none.
    """
    try:
        text = body.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise _bad()
        root = etree.fromstring(text.encode(), hardened_parser())
        fold_narratives(root, text)
    except (ValueError, etree.XMLSyntaxError) as error:
        raise _bad() from error
    return orjson.dumps(_read_resource(root, 0))


def _bad() -> RequestError:
    return RequestError("request.bad-resource")


def _refuse_constant(_: str) -> NoReturn:
    raise _bad()


# --- JSON to XML: text is put together rather than a tree, for speed


def _write_resource(out: list[str], resource: Any, namespace: str, depth: int) -> None:
    name = resource.get("resourceType") if isinstance(resource, dict) else None
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise _bad()
    out.append(f"<{name}{namespace}>")
    _write_children(out, resource, resource_type(name), {"resourceType"}, depth)
    out.append(f"</{name}>")


def _write_element(
    out: list[str], tag: str, head: str, value: dict[str, Any], known: Type, depth: int
) -> None:
    """`<tag …>` with the children of `value`; `head` is what its start tag holds already."""
    attributes = ("id", "url") if known.name == "Extension" else ("id",)
    written = {name for name in attributes if isinstance(value.get(name), str)}
    for name in attributes:
        if name in written:
            head += f' {name}="{_escape(value[name])}"'
    out.append(f"<{tag}{head}>")
    start = len(out)
    _write_children(out, value, known, written, depth)
    if len(out) == start:
        out[-1] = f"<{tag}{head}/>"
    else:
        out.append(f"</{tag}>")


def _write_children(
    out: list[str], value: dict[str, Any], known: Type, written: set[str], depth: int
) -> None:
    if depth > MAX_DEPTH:
        raise _bad()
    names = dict.fromkeys(name.removeprefix("_") for name in value if name not in written)
    for name in sorted(names, key=lambda name: known.order.get(name, _LAST)):
        element = known.elements.get(name)
        if element is None and _NAME.fullmatch(name) is None:
            continue
        for item, beside in _items(None if name in written else value.get(name), value.get("_" + name)):
            _write_item(out, name, item, beside, element, depth)


def _items(value: Any, beside: Any) -> Iterator[tuple[Any, Any]]:
    """The occurrences of an element, each with what stands beside it under `_name`."""
    if isinstance(value, list) or (value is None and isinstance(beside, list)):
        yield from zip_longest(value or (), beside if isinstance(beside, list) else ())
    elif value is not None or isinstance(beside, dict):
        yield value, beside


def _write_item(
    out: list[str], tag: str, value: Any, beside: Any, element: Element | None, depth: int
) -> None:
    if element is not None and element.kind is Kind.XHTML and not isinstance(value, list):
        if isinstance(value, str):
            out.append(narrative_to_xml(value))
    elif isinstance(value, dict):
        if "resourceType" in value and (element is None or element.kind is Kind.RESOURCE):
            out.append(f"<{tag}>")
            _write_resource(out, value, "", depth + 2)
            out.append(f"</{tag}>")
        else:
            _write_element(out, tag, "", value, _type(element), depth + 1)
    elif isinstance(value, list):
        for item in value:
            if depth > MAX_DEPTH:
                raise _bad()
            _write_item(out, tag, item, None, element, depth + 1)
    else:
        head = "" if value is None else f' value="{_text(value)}"'
        if isinstance(beside, dict) and beside:
            _write_element(out, tag, head, beside, ANY, depth + 1)
        else:
            out.append(f"<{tag}{head}/>")


def _type(element: Element | None) -> Type:
    return type_of(element.type) if element is not None and element.kind is Kind.COMPLEX else ANY


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _escape(value)
    return "true" if value is True else "false"


def _escape(value: str) -> str:
    return _SPECIAL.sub(_reference, value) if _SPECIAL.search(value) else value


def _reference(match: re.Match[str]) -> str:
    return _REFERENCES.get(match[0], "\ufffd")


# --- XML to JSON


def _read_resource(node: etree._Element, depth: int) -> dict[str, Any]:
    name = _local_name(node)
    return {"resourceType": name} | _read_children(node, resource_type(name), depth)


def _read_element(node: etree._Element, known: Type, depth: int) -> dict[str, Any]:
    attributes = ("id", "url") if known.name == "Extension" else ("id",)
    found = {name: node.get(name) for name in attributes if name in node.attrib}
    return found | _read_children(node, known, depth)


def _read_children(node: etree._Element, known: Type, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH or _has_text(node.text):
        raise _bad()
    found: dict[str, list[tuple[Any, Any]]] = {}
    for child in node:
        if _has_text(child.tail):
            raise _bad()
        if not isinstance(child.tag, str):  # a comment or a processing instruction
            continue
        if child.tag == XHTML_DIV:
            found.setdefault("div", []).append((child.get("value"), None))
            continue
        name = _local_name(child)
        element = known.elements.get(name)
        found.setdefault(name, []).append(_read_item(child, element, depth + 1))
    result: dict[str, Any] = {}
    for name, items in found.items():
        element = known.elements.get(name)
        _put(result, name, items, many=len(items) > 1 or (element is not None and element.many))
    return result


def _put(result: dict[str, Any], name: str, items: list[tuple[Any, Any]], *, many: bool) -> None:
    values, besides = [item[0] for item in items], [item[1] for item in items]
    has_beside = any(besides)
    if any(value is not None for value in values) or (many and not has_beside):
        result[name] = values if many else values[0]
    if has_beside:
        result["_" + name] = besides if many else besides[0]


def _read_item(node: etree._Element, element: Element | None, depth: int) -> tuple[Any, Any]:
    """The value of one occurrence, and what JSON puts beside it under `_name`."""
    text = node.get("value")
    if text is None and (element is None or element.kind in {Kind.COMPLEX, Kind.RESOURCE}):
        return _read_structure(node, element, depth), None
    beside = _read_element(node, ANY, depth) if len(node) or "id" in node.attrib else None
    if len(node) == 0 and _has_text(node.text):
        raise _bad()
    return (None if text is None else _value(text, element)), beside


def _read_structure(node: etree._Element, element: Element | None, depth: int) -> dict[str, Any]:
    if element is not None and element.kind is Kind.COMPLEX:
        return _read_element(node, type_of(element.type), depth)
    inners = [child for child in node if isinstance(child.tag, str)]
    if len(inners) == 1:
        name = _local_name(inners[0])
        expected = element is not None or resource_type(name).name == name
        if expected and name[0].isupper():
            return _read_resource(inners[0], depth + 1)
    return _read_element(node, ANY, depth)


def _value(text: str, element: Element | None) -> Any:
    """A primitive as JSON writes it; a number or boolean that is none stays text."""
    if element is not None and element.kind is Kind.BOOLEAN and text in {"true", "false"}:
        return text == "true"
    if element is not None and element.kind is Kind.NUMBER and _JSON_NUMBER.fullmatch(text):
        return orjson.Fragment(text)
    return text


def _local_name(node: etree._Element) -> str:
    tag = str(node.tag)
    if not tag.startswith(_PREFIX):
        raise _bad()
    return tag[len(_PREFIX) :]


def _has_text(text: str | None) -> bool:
    return text is not None and not text.isspace() and text != ""
