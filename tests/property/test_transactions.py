"""Arbitrary transactions to a manager and back: order, ids and references hold, and nothing else changes.

The manager is the sandbox's own store. The oracle knows what each reference means because it wrote it, in one of the ways
in which a client may; it compares what the manager holds, and what the client is told, with that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.copy_plan import CopyPlan, PlannedCopy
from broker.core.identity import public_id
from broker.core.transaction import read_transaction
from broker.core.transaction_answer import read_transaction_answer, write_transaction_answer
from broker.core.transaction_inward import inward_transaction
from broker.core.transaction_plan import plan_transaction
from tests.support.examples import examples
from tests.support.transactions import BASE, BRE, PUBLIC, SYSTEM, Json, Sandbox, bundle, condition_of

CLIENT = "https://client.exemple/fhir"
LONG = "l" * 64
LOCAL_IDS = ["1", "idf.1", "7-a.b", LONG, "alias--" + "0" * 40]
MEANINGLESS = ["#me", "https://elsewhere.exemple/Patient/1", "Device?identifier=1", "", "Patient/bre.1/x"]
noise: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.sampled_from(["Organization/bre.1", '"reference":"Organization/bre.1"', "urn:uuid:1", 1.5, None, True, "é\\"]),
        st.text(max_size=6),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["display", "x", "meta", "id"]), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """An entry, and what its references mean: ("entry", index), ("held", local id), ("copy", name) or ("as is", text)."""

    method: str
    local: str
    full_url: str | None
    own_id: str | None
    conditional: bool
    means: tuple[tuple[str, Any], ...]
    noise: Any


@st.composite
def transactions(draw: st.DrawFn) -> list[Asked]:
    count = draw(st.integers(1, 5))
    free = draw(st.permutations(LOCAL_IDS))
    asked: list[Asked] = []
    meanings = st.one_of(
        st.tuples(st.just("entry"), st.integers(0, count - 1)),
        st.tuples(st.just("held"), st.sampled_from(LOCAL_IDS)),
        st.tuples(st.just("copy"), st.sampled_from(["idf.1", "idf.2"])),
        st.tuples(st.just("as is"), st.sampled_from(MEANINGLESS)),
    )
    for index in range(count):
        method = draw(st.sampled_from(["POST", "PUT"]))
        full_url = draw(
            st.sampled_from([None, f"urn:uuid:entry-{index}", f"urn:oid:1.2.{index}", f"{CLIENT}/Organization/c{index}"])
        )  # fmt: skip
        own_id = draw(st.sampled_from([None, f"own-{index}", f"bre.own-{index}"]))
        if method == "POST" and full_url is None and own_id is None:
            own_id = f"own-{index}"  # else nothing could refer to it
        asked.append(
            Asked(
                method,
                free[index],
                full_url,
                own_id,
                draw(st.booleans()),
                tuple(draw(st.lists(meanings, max_size=4))),
                draw(noise),
            )
        )
    return asked


class Scene:
    """One transaction as a client writes it, and a sandbox that holds what it updates and refers to."""

    def __init__(self, asked: list[Asked], draw: st.DrawFn) -> None:
        self.asked, self.draw = asked, draw
        self.aliases: dict[str, str] = {}
        self.sandbox = Sandbox()
        for local in LOCAL_IDS:
            public_id("bre", local, self.aliases)
            self.sandbox.put({"resourceType": "Organization", "id": local, "name": "held"})
        self.texts: list[list[str]] = [[self.text(*means) for means in one.means] for one in asked]
        self.references: dict[str, str] = {}
        self.copies: dict[str, PlannedCopy] = {}
        for one, texts in zip(asked, self.texts, strict=True):
            for (kind, value), text in zip(one.means, texts, strict=True):
                if kind == "copy":
                    urn = f"urn:uuid:copy-{value}"
                    self.references[text] = urn
                    resource = {
                        "resourceType": "Organization",
                        "identifier": [{"system": SYSTEM, "value": value}],
                    }
                    self.copies[value] = PlannedCopy(urn, resource, (SYSTEM, value), f"Organization/{value}")

    def text(self, kind: str, value: Any) -> str:
        """One of the ways to say it."""
        match kind:
            case "entry":
                return self.draw(st.sampled_from(self.names(self.asked[value])))
            case "held":
                known = f"Organization/{public_id('bre', value)}"
                return self.draw(st.sampled_from([known, f"{PUBLIC}/{known}", f"{known}/_history/1"]))
            case "copy":
                return self.draw(st.sampled_from([f"Organization/{value}", f"{PUBLIC}/Organization/{value}"]))
            case _:
                return str(value)

    @staticmethod
    def names(one: Asked) -> list[str]:
        names = [] if one.full_url is None else [one.full_url]
        if one.method == "PUT":
            known = f"Organization/{public_id('bre', one.local)}"
            names += [known, f"{PUBLIC}/{known}"]
        elif one.own_id is not None:
            names.append(f"Organization/{one.own_id}")
        if one.full_url is not None and one.full_url.startswith(CLIENT):
            names.append(one.full_url.removeprefix(CLIENT + "/"))
        return names

    def resource(self, index: int) -> Json:
        one = self.asked[index]
        identity = public_id("bre", one.local) if one.method == "PUT" else one.own_id
        made: Json = {"resourceType": "Organization", "noise": one.noise}
        if identity is not None:
            made["id"] = identity
        made["identifier"] = [{"system": SYSTEM, "value": f"entry-{index}"}]
        made["linked"] = [{"reference": text, "display": text} for text in self.texts[index]]
        return made

    def bundle(self) -> Json:
        return bundle(*(self.entry(index) for index in range(len(self.asked))))

    def entry(self, index: int) -> Json:
        one, resource = self.asked[index], self.resource(index)
        request = {"method": one.method, "url": "Organization"}
        if one.method == "PUT":
            request["url"] += f"/{resource['id']}"
        elif one.conditional:
            request["ifNoneExist"] = f"identifier={SYSTEM}|entry-{index}"
        made: Json = {"resource": resource, "request": request}
        return made if one.full_url is None else {"fullUrl": one.full_url, **made}


def meant(reference: str) -> str:
    return reference.removeprefix(BASE + "/").partition("/_history/")[0]


@settings(max_examples=examples(80), deadline=None)
@given(st.data())
def test_what_goes_in_comes_out(data: st.DataObject) -> None:
    scene = Scene(data.draw(transactions()), data.draw)
    made = scene.bundle()
    raw = json.dumps(made, ensure_ascii=data.draw(st.booleans())).encode()
    transaction = read_transaction(made, raw, public_base=PUBLIC)
    plan = plan_transaction(transaction, condition_of=condition_of if data.draw(st.booleans()) else None)
    assert plan.target == ("bre" if any(one.method == "PUT" for one in scene.asked) else None)
    assert {one.text for one in plan.foreign("bre")} == set(scene.references)
    inward = inward_transaction(
        plan,
        BRE,
        {one: scene.aliases[one] for one in plan.aliases},
        CopyPlan(scene.references, tuple(scene.copies.values())),
    )
    assert inward.copies == len(scene.copies)

    for index, resource in enumerate(inward.resources):
        check_sent(scene, index, json.loads(resource))

    body = scene.sandbox.transact(inward.body)
    aliases = dict(scene.aliases)
    written = read_transaction_answer(body, transaction, BRE, aliases, copies=inward.copies)

    assert [one.index for one in written] == list(range(len(scene.asked)))
    for one, done in zip(scene.asked, written, strict=True):
        assert done.created == (one.method == "POST")
        assert done.public_id == public_id("bre", done.local_id)
        if one.method == "PUT":
            assert done.local_id == one.local
    for index, done in enumerate(written):
        check_held(scene, index, scene.sandbox.held(f"Organization/{done.local_id}"), written)

    answer = json.loads(write_transaction_answer(written, PUBLIC))
    for index, (shown, done) in enumerate(zip(answer["entry"], written, strict=True)):
        assert shown["fullUrl"] == f"{PUBLIC}/Organization/{done.public_id}"
        assert shown["response"]["location"].startswith(shown["fullUrl"] + "/_history/")
        assert shown["resource"]["id"] == done.public_id
        check_shown(scene, index, shown["resource"], written, aliases)


def check_sent(scene: Scene, index: int, sent: Json) -> None:
    """A reference to what the manager holds is to its own id; its form stays."""
    for (kind, value), text, link in zip(
        scene.asked[index].means, scene.texts[index], sent["linked"], strict=True
    ):
        if kind == "held":
            public = f"Organization/{public_id('bre', value)}"
            assert link["reference"] == text.replace(PUBLIC, BASE).replace(public, f"Organization/{value}")


def check_held(scene: Scene, index: int, held: Json, written: Any) -> None:
    """What the manager holds is what was written, with its own references, and nothing else changed."""
    one, sent = scene.asked[index], scene.resource(index)
    assert {name: held[name] for name in ("noise", "identifier")} == {
        name: sent[name] for name in ("noise", "identifier")
    }
    assert held.keys() - {"meta", "id"} == sent.keys() - {"id"}
    assert [link["display"] for link in held["linked"]] == scene.texts[index]
    for (kind, value), link in zip(one.means, held["linked"], strict=True):
        match kind:
            case "entry":
                assert meant(link["reference"]) == f"Organization/{written[value].local_id}"
            case "held":
                assert meant(link["reference"]) == f"Organization/{value}"
            case "copy":
                copy = scene.sandbox.held(link["reference"])
                assert copy["identifier"] == [{"system": SYSTEM, "value": value}]
            case _:
                assert link["reference"] == value


def check_shown(scene: Scene, index: int, shown: Json, written: Any, aliases: dict[str, str]) -> None:
    """What the client is shown leads to what it meant, in public terms."""
    for (kind, value), link in zip(scene.asked[index].means, shown["linked"], strict=True):
        reference = link["reference"].removeprefix(PUBLIC + "/").partition("/_history/")[0]
        match kind:
            case "entry":
                assert reference == written[value].reference
            case "held":
                assert reference == f"Organization/{public_id('bre', value)}"
            case "copy":
                local = aliases.get(reference, reference.removeprefix("Organization/bre."))
                assert scene.sandbox.held(f"Organization/{local}")["identifier"][0]["value"] == value
            case _:
                assert link["reference"] == value
