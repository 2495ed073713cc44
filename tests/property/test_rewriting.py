"""Rewriting over any JSON text, against an oracle that builds the text from tokens and changes the tree.

The texts are written with random spacing, random escapes and numbers as they like; the oracle knows which token is a
reference because it wrote it. So every other byte is compared, not only the meaning.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.bundle import read_searchset
from broker.core.identity import Origin, public_id
from broker.core.rewriting import inward, outward
from registry.model import TRE_R30
from tests.support.examples import examples

BASE, PUBLIC = "https://m.bre.exemple/fhir", "https://b.exemple/fhir"
BRE = Origin("bre", BASE, PUBLIC, "53", "Bretagne")


class Number(str):
    """A number as it stands in the text, like 1.50 or 1e+9."""

    __slots__ = ()


LONG, LOOKALIKE = "z" * 64, "alias--" + "0" * 40
ids = st.one_of(
    st.sampled_from(["12", LONG, LOOKALIKE]),
    st.sampled_from(["idf.12", ".a", "..", "x" * 60, "y" * 61, "a_b"]),
    st.text("aZ09-.", min_size=1, max_size=8),
)
own_paths = st.builds(
    "{}/{}{}".format, st.sampled_from(["Patient", "CareTeam"]), ids, st.sampled_from(["", "", "/_history/3"])
)
odd_paths = st.builds(
    "{}{}{}".format,
    st.sampled_from(["Patient/", "X/", "patient/", "Patient//", "/Patient/"]),
    ids,
    st.sampled_from(["", "/_history/", "/x", "#a", "?b=c", '"', "\\"]),
)
reference_values = st.one_of(
    own_paths,
    own_paths.map(f"{BASE}/".__add__),
    odd_paths,
    odd_paths.map(f"{BASE}/".__add__),
    own_paths.map("https://elsewhere.exemple/fhir/".__add__),
    st.sampled_from(["#me", "urn:uuid:1", "Patient?identifier=a|b", "", BASE, BASE + "/", 'say "reference']),
    st.text(max_size=8),
)
texts = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ['"reference":"Patient/1"', 'a"reference', "reference", "\\", '\\"', "Patient/1", "<a href='x'>é</a>"]
    ),
)
keys = st.one_of(
    st.sampled_from(
        ["reference", "display", "id", "meta", 'x"reference', "reference\\", '"reference"', "text"]
    ),
    st.text(max_size=5),
)
numbers = st.sampled_from(
    ["0", "-0", "1.50", "1e+9", "0.10000000000000000000001", "123456789012345678901234567890"]
)
references = st.fixed_dictionaries({"reference": reference_values}, optional={"display": texts})
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(texts, st.none(), st.booleans(), numbers.map(Number)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=5),
        references,
    ),
    max_leaves=25,
)


class Writer:
    """Writes a value as JSON twice: as the manager has it, and as it is expected in public terms."""

    def __init__(self, draw: st.DrawFn, *, escapes: bool) -> None:
        self.draw = draw
        style = draw(st.sampled_from(["compact", "compact", "spaced", "escaped"]))
        self.spaces = st.sampled_from(["", " ", "\n  ", "\r\n\t"] if style == "spaced" else [""])
        self.escapes = escapes and style == "escaped"
        self.ascii = draw(st.booleans())

    def space(self) -> str:
        return self.draw(self.spaces)

    def string(self, text: str) -> str:
        if not self.escapes:
            return json.dumps(text, ensure_ascii=self.ascii)
        return '"' + "".join(self.draw(st.sampled_from(_spellings(char))) for char in text) + '"'

    def pair(self, value: Any) -> tuple[str, str]:
        match value:
            case Number():
                return value, value
            case str():
                text = self.string(value)
                return text, text
            case list():
                return self.joined("[", "]", [self.pair(item) for item in value])
            case dict():
                return self.joined("{", "}", [self.member(key, item) for key, item in value.items()])
            case _:
                text = json.dumps(value)
                return text, text

    def member(self, key: str, value: Any) -> tuple[str, str]:
        name, colon = self.string(key), self.space() + ":" + self.space()
        plain = f'"{key}"' if key in {"reference", "id", "meta"} else name
        given, expected = self.pair(value)
        if key == "reference" and isinstance(value, str) and not isinstance(value, Number):
            public = oracle(value)
            expected = given if public == value else json.dumps(public)
        return name + colon + given, plain + colon + expected

    def joined(self, opening: str, closing: str, items: list[tuple[str, str]]) -> tuple[str, str]:
        given = expected = opening + self.space()
        for index, (left, right) in enumerate(items):
            comma = "," + self.space() if index else ""
            trailing = self.space()
            given += comma + left + trailing
            expected += comma + right + trailing
        return given + closing, expected + closing


def _spellings(char: str) -> list[str]:
    plain = json.dumps(char, ensure_ascii=False)[1:-1]
    if ord(char) > 0xFFFF:
        return [plain]
    code = f"\\u{ord(char):04x}"
    return [plain, plain, plain, code, code.upper().replace("U", "u"), *(["\\/"] if char == "/" else [])]


def oracle(value: str) -> str:
    """What a reference is in public terms, decided the slow and plain way."""
    head, path = (PUBLIC + "/", value[len(BASE) + 1 :]) if value.startswith(BASE + "/") else ("", value)
    parts = path.split("/")
    versioned = len(parts) == 4 and parts[2] == "_history" and _is_id(parts[3], dots=True)
    if not (len(parts) == 2 or versioned) or not re.fullmatch(r"[A-Z][A-Za-z]{1,63}", parts[0]):
        return value
    if not _is_id(parts[1], dots=False):
        return value
    return head + "/".join([parts[0], public_id("bre", parts[1]), *parts[2:]])


def _is_id(text: str, *, dots: bool) -> bool:
    plain = 1 <= len(text) <= 64 and text.isascii() and all(char.isalnum() or char in "-." for char in text)
    return plain and (dots or text not in {".", ".."})


@st.composite
def documents(draw: st.DrawFn, *, escapes: bool = True) -> tuple[bytes, bytes]:
    writer = Writer(draw, escapes=escapes)
    document = draw(st.one_of(values, st.lists(references, max_size=6)))
    given_text, expected = writer.pair(document)
    return given_text.encode(errors="surrogatepass"), expected.encode(errors="surrogatepass")


@settings(max_examples=examples(100))
@given(documents())
def test_references_change_and_no_other_byte(document: tuple[bytes, bytes]) -> None:
    body, expected = document
    assert outward(body, BRE, {}) == expected


@settings(max_examples=examples(80))
@given(documents(escapes=False))
def test_out_and_back_in_is_lossless(document: tuple[bytes, bytes]) -> None:
    body, _ = document
    aliases: dict[str, str] = {}
    back = inward(outward(body, BRE, aliases), BRE, aliases)
    assert back.body == body
    assert back.foreign == back.unknown == ()


@settings(max_examples=examples(80))
@given(documents())
def test_out_and_back_in_keeps_the_meaning_of_any_spelling(document: tuple[bytes, bytes]) -> None:
    body, _ = document
    aliases: dict[str, str] = {}
    back = inward(outward(body, BRE, aliases), BRE, aliases)
    assert _tree(back.body) == _tree(body)


def _tree(text: bytes) -> Any:
    """Key order and the spelling of numbers included."""
    return json.loads(text, object_pairs_hook=list, parse_float=Number, parse_int=Number)


metas = st.fixed_dictionaries(
    {},
    optional={
        "versionId": st.sampled_from(["1", "a-b", "x y", ""]),
        "lastUpdated": st.just("2026-01-02T03:04:05.006+01:00"),
        "source": st.sampled_from(["#trace", "", "https://x.exemple", "urn:oid:1", "rel"]),
        "profile": st.lists(st.sampled_from(["p", '},"']), max_size=2),
        "tag": st.lists(
            st.fixed_dictionaries({"code": st.just("c")}, optional={"system": st.sampled_from(["s", TRE_R30])}), max_size=2
        ),
        "extension": st.lists(st.fixed_dictionaries({"url": texts, "id": texts}), max_size=1),
    },
)  # fmt: skip
contained = st.fixed_dictionaries({"resourceType": st.just("Patient"), "id": ids, "meta": metas})
members = st.fixed_dictionaries(
    {"resourceType": st.just("CareTeam"), "id": st.sampled_from(["7", "a.b", LONG, LOOKALIKE])},
    optional={
        "meta": metas,
        "contained": st.lists(contained, max_size=2),
        "text": st.fixed_dictionaries({"div": texts, "id": texts}),
        "subject": st.fixed_dictionaries({"reference": reference_values}),
        "x": values,
    },
)
orders = st.one_of(
    st.just({"resourceType": 0, "id": 1, "meta": 2}),
    st.dictionaries(st.sampled_from(["resourceType", "id", "meta"]), st.integers(0, 9)),
)
resources = st.builds(
    lambda members, order: dict(sorted(members.items(), key=lambda item: order.get(item[0], 5))),
    members,
    orders,
)


@st.composite
def bundles(draw: st.DrawFn) -> tuple[bytes, str]:
    writer = Writer(draw, escapes=True)
    resource = draw(resources)
    given_text, expected = writer.pair({"resourceType": "Bundle", "entry": [{"resource": resource}]})
    return given_text.encode(errors="surrogatepass"), expected


@settings(max_examples=examples(100))
@given(bundles())
def test_a_resource_keeps_everything_but_id_references_and_meta(served: tuple[bytes, str]) -> None:
    body, expected = served
    bundle = read_searchset(body, BRE, "CareTeam", {})
    assert bundle.problems == ()
    (entry,) = bundle.entries
    got = dict(_tree(entry.raw))
    want = dict(dict(_tree(expected.encode(errors="surrogatepass")))["entry"][0][0][1])
    assert got.pop("id") == public_id("bre", want.pop("id")) == entry.public_id
    meta, given_meta = dict(got.pop("meta")), dict(want.pop("meta", []))
    assert list(got.items()) == list(want.items())
    source, tags = meta.pop("source"), meta.pop("tag")
    given_source, given_tags = given_meta.pop("source", ""), given_meta.pop("tag", [])
    assert source == entry.source == (given_source if ":" in given_source else BASE)
    region = (
        []
        if any(("system", TRE_R30) in tag for tag in given_tags)
        else [[("system", TRE_R30), ("code", "53")]]
    )
    assert tags == given_tags + region
    assert list(meta.items()) == list(given_meta.items())
