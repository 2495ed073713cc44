"""Any resource of the guide's types, made up from the schema, comes back equal from XML."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core.fhir_schema import Element, Kind, resource_type, type_of
from broker.core.fhir_xml import to_json, to_xml
from broker.core.search_parameters import TYPES
from broker.errors import RequestError
from tests.support.examples import examples
from tests.unit.core.test_fhir_xml import tree

_text = st.text(
    st.characters(
        exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff", include_characters="\t\n\r"
    ),
    max_size=8,
)
_number = st.integers() | st.decimals(-1000, 1000, places=3).map(lambda value: ("decimal", str(value)))
_div = st.sampled_from(
    ["", "<b>x</b>", "<div/>", "<div><div a='1'/></div>", "<!-- </div> -->", "&lt;é<br></br><a name='x'/>"]
).map(lambda inner: f'<div xmlns="http://www.w3.org/1999/xhtml">{inner}</div>')
_PRIMITIVES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.STRING: _text,
    Kind.BOOLEAN: st.booleans(),
    Kind.NUMBER: _number,
    Kind.XHTML: _div,
}
_extension = st.fixed_dictionaries({"url": _text, "valueString": _text})
_beside = st.fixed_dictionaries(
    {"extension": st.lists(_extension, min_size=1, max_size=2)}
) | st.fixed_dictionaries({"id": _text})


@st.composite
def _complex(draw: st.DrawFn, name: str, depth: int, *, resource: bool = False) -> dict[str, Any]:
    known = resource_type(name) if resource else type_of(name)
    usable = [
        element
        for element, about in known.elements.items()
        if depth > 0 or about.kind not in {Kind.COMPLEX, Kind.RESOURCE}
    ]
    made: dict[str, Any] = {"resourceType": name} if resource else {}
    for element in draw(st.lists(st.sampled_from(usable), max_size=4, unique=True)) if usable else ():
        made |= draw(_property(element, known.elements[element], depth, attribute=not resource))
    return made


@st.composite
def _property(draw: st.DrawFn, name: str, about: Element, depth: int, *, attribute: bool) -> dict[str, Any]:
    if attribute and name in {"id", "url"}:
        return {name: draw(_text)}
    if about.kind is Kind.RESOURCE:
        one: st.SearchStrategy[Any] = st.sampled_from(TYPES).flatmap(
            lambda kind: _complex(kind, depth - 1, resource=True)
        )
    elif about.kind is Kind.COMPLEX:
        one = _complex(about.type, depth - 1)
    else:
        one = _PRIMITIVES[about.kind]
    if about.kind in {Kind.COMPLEX, Kind.RESOURCE, Kind.XHTML}:
        return {name: draw(st.lists(one, min_size=1, max_size=3)) if about.many else draw(one)}
    if not about.many:
        return draw(
            st.sampled_from([{name: one}, {"_" + name: _beside}, {name: one, "_" + name: _beside}]).flatmap(
                st.fixed_dictionaries
            )
        )
    pairs = draw(st.lists(st.tuples(st.none() | one, st.none() | _beside), min_size=1, max_size=3))
    values, besides = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    made = {}
    if any(value is not None for value in values):
        made[name] = values
    if any(besides):
        made["_" + name] = besides
    return made


def _dump(resource: Any) -> bytes:
    return orjson.dumps(_with_decimals(resource))


def _with_decimals(value: Any) -> Any:
    if isinstance(value, tuple):
        return orjson.Fragment(str(Decimal(value[1])))
    if isinstance(value, int) and not isinstance(value, bool):
        return orjson.Fragment(str(value))
    if isinstance(value, list):
        return [_with_decimals(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_decimals(item) for key, item in value.items()}
    return value


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.sampled_from([*TYPES, "Bundle", "OperationOutcome"]).flatmap(
        lambda name: _complex(name, 3, resource=True)
    )
)
def test_round_trip(resource: dict[str, Any]) -> None:
    body = _dump(resource)
    assert tree(to_json(to_xml(body))) == tree(body)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["resourceType", "id", "_id", "name", "_name", "text", "div", "contained", "url", "a b"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["id", "name", "_name", "text", "contained", "foo", "_foo"]), _json, max_size=5
    )
)
def test_any_json_becomes_xml_that_can_be_read_again(content: dict[str, Any]) -> None:
    try:
        document = to_xml(json.dumps({"resourceType": "Patient", **content}).encode())
    except RequestError:
        return  # a resource inside it that has no usable type
    assert orjson.loads(to_json(document))["resourceType"] == "Patient"
