"""Whatever the order and the repetition of a circle's events, a manager ends with the one of the highest number."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from broker.core.change_event import Operation
from broker.core.event_content import ChangeEvent
from broker.core.replica import Apply, Holdings, Leave, Remove, decide, lookups
from tests.support.change_events import actors, change, event, held, team
from tests.support.examples import examples
from tests.support.fhir_builders import patient

Resource = dict[str, Any]


@dataclass
class Manager:
    """A manager, and its agent: what it holds by type and id, and what the agent remembers of removals."""

    deletes: bool
    held: dict[str, Resource] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    written: int = 0

    def deliver(self, told: ChangeEvent) -> None:
        asked = lookups(told)
        kinds = {reference: reference.partition("/")[0] for reference in asked.actors}
        there = {
            reference: [one for one in self._all(kinds[reference]) if identifier in one.identifiers]
            for reference, identifier in asked.actors.items()
        }
        key = told.change.public_id
        decision = decide(told, "occ", Holdings(self._all("CareTeam"), there), removed=self.removed.get(key))
        if isinstance(decision, Apply):
            made: dict[str, str] = {}
            for write in decision.writes:
                body = json.loads(write.body(made))
                assert "urn:uuid:" not in json.dumps(body)
                made[write.full_url] = self._put(write.type, write.local_id, body)
        elif isinstance(decision, Remove):
            for replica, instead in zip(decision.replicas, decision.instead, strict=True):
                if self.deletes:
                    del self.held[f"CareTeam/{replica.local_id}"]
                    self.written += 1
                else:
                    self._put("CareTeam", replica.local_id, json.loads(instead.body({})))
        else:
            assert isinstance(decision, Leave), decision
        if told.change.operation is Operation.DELETED:
            self.removed[key] = max(self.removed.get(key, 0), told.change.sequence)

    def _all(self, kind: str) -> list[Any]:
        return [held(one) for one in self.held.values() if one["resourceType"] == kind]

    def _put(self, kind: str, local_id: str | None, body: Resource) -> str:
        local_id = local_id or str(len(self.held) + 1 + self.written)
        before = self.held.get(f"{kind}/{local_id}", {}).get("meta", {}).get("versionId", "0")
        meta = body["meta"] | {"versionId": str(int(before) + 1), "lastUpdated": "2027-01-01T00:00:00Z"}
        self.held[f"{kind}/{local_id}"] = body | {"id": local_id, "meta": meta}
        self.written += 1
        return f"{kind}/{local_id}"

    def content(self) -> list[str]:
        """What it holds, whatever ids and versions it gave."""
        renamed = {
            reference: f"{one['resourceType']}|{json.dumps(one.get('identifier'))}"
            for reference, one in self.held.items()
        }
        shown = []
        for one in self.held.values():
            meta = {
                name: value for name, value in one["meta"].items() if name not in ("versionId", "lastUpdated")
            }
            text = json.dumps({**one, "id": "", "meta": meta}, sort_keys=True)
            for reference, name in renamed.items():
                text = text.replace(json.dumps(reference), json.dumps(name))
            shown.append(text)
        return sorted(shown)


def at(number: int) -> str:
    return f"2026-01-01T00:{number:02d}:00Z"


def story(deleted: list[bool]) -> list[ChangeEvent]:
    """A circle's changes in order: at each its content and its person's are other ones, or it is deleted."""
    events = []
    for number, gone in enumerate(deleted, start=1):
        if gone:
            told = change(
                sequence=number, version=str(number), last_updated=at(number), operation=Operation.DELETED
            )
            events.append(event(told))
            continue
        told = change(sequence=number, version=str(number), last_updated=at(number))
        person = patient("p1", family=f"NOM{number}", last_updated=at(number))
        others = [one for one in actors() if one["id"] != "p1"]
        members = ("PractitionerRole/r1",) if number % 2 else ("RelatedPerson/rp1",)
        circle = team(
            name=f"Cercle {number}", version=str(number), last_updated=at(number), participants=members
        )
        events.append(event(told, circle, [*others, person]))
    return events


@settings(max_examples=examples(40), deadline=None)
@given(
    deleted=st.lists(st.booleans(), min_size=1, max_size=5),
    order=st.lists(st.integers(0, 4), max_size=10),
    deletes=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_it_ends_in_the_highest(deleted: list[bool], order: list[int], deletes: bool, seed: int) -> None:
    events = story(deleted)
    shuffled = [events[number] for number in order if number < len(events)]
    shuffled += random.Random(seed).sample(events, len(events))  # every event comes at least once
    manager = Manager(deletes)
    for told in shuffled:
        manager.deliver(told)

    circles = [one for one in manager.held.values() if one["resourceType"] == "CareTeam"]
    if not deleted[-1]:
        [circle] = circles
        assert circle["name"] == f"Cercle {len(deleted)}"
        assert circle["status"] == "active"
        [person] = [one for one in manager.held.values() if one["resourceType"] == "Patient"]
        assert person["name"][0]["family"] == f"NOM{len(deleted)}"
        assert circle["subject"] == {"reference": f"Patient/{person['id']}"}
    elif deletes:
        assert circles == []
    else:
        assert {one["status"] for one in circles} <= {"entered-in-error"}

    before, written = manager.content(), manager.written
    for told in shuffled:
        manager.deliver(told)
    assert (manager.content(), manager.written) == (before, written)


@settings(max_examples=examples(15), deadline=None)
@given(count=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_any_order_ends_as_the_right_one(count: int, seed: int) -> None:
    events = story([False] * count)
    one, other = Manager(deletes=False), Manager(deletes=False)
    for told in events:
        one.deliver(told)
    for told in [*random.Random(seed).choices(events, k=3), events[-1], *events]:
        other.deliver(told)
    circles = [
        [text for text in manager.content() if '"resourceType": "CareTeam"' in text]
        for manager in (one, other)
    ]
    assert circles[0] == circles[1]
