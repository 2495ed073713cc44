"""A circle's versions, and what changed between them, in words. Pure.

`Version`s come from a history Bundle, newest first. Each is compared with the one before it; what is told is the whole
of the structural difference, but for the version's own number and instant, which head it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker.console.resource_words import Json, coded, items, part, reference_of, words
from broker.console.structural_diff import Change, Kind, changes
from broker.console.texts import text
from broker.core.outcome import Language
from broker.core.query_values import is_id
from registry.model import REGIONS

_MEMBERS: Final = frozenset({"PractitionerRole", "RelatedPerson", "Organization"})
_HEADING: Final = frozenset({("meta", "versionId"), ("meta", "lastUpdated")})
_LABELLED: Final = (
    "status",
    "name",
    "subject",
    "period",
    "participant",
    "managingOrganization",
    "identifier",
    "category",
    "note",
    "reasonCode",
    "telecom",
    "encounter",
    "text",
    "meta",
    "extension",
)
_SHOWN: Final = 120  # characters of a value

_MEMBER_PARTS: Final = frozenset({("period", "start"), ("period", "end"), ("role",), ("onBehalfOf",)})


@dataclass(frozen=True, slots=True)
class Version:
    """`changed`: what is different from the version before, in words; None where that one is not at hand."""

    number: str
    updated: str
    deleted: bool
    source: str
    resource: Json | None
    changed: tuple[str, ...] | None = None


def versions(bundle: Json, names: Mapping[str, str], language: Language) -> list[Version]:
    """Of one page of a history, newest first. `names`: of members and persons, by reference."""
    entries = [one for one in items(bundle.get("entry")) if part(one, "response", "outcome") is None]
    resources = [
        part(one, "resource") if isinstance(part(one, "resource"), dict) else None for one in entries
    ]
    made = []
    for place, (entry, resource) in enumerate(zip(entries, resources, strict=True)):
        before = resources[place + 1] if place + 1 < len(resources) else None
        told = None
        if resource is not None and before is not None:
            told = tuple(in_words(before, resource, names, language))
        made.append(_version(entry, resource, told))
    return made


def references(bundle: Json) -> dict[str, list[str]]:
    """Ids of the members that any version of a page names, by type."""
    found: dict[str, dict[str, None]] = {}
    for entry in items(bundle.get("entry")):
        for one in items(part(entry, "resource", "participant")):
            kind, _, identifier = reference_of(one.get("member")).partition("/")
            if kind in _MEMBERS and is_id(identifier):
                found.setdefault(kind, {})[identifier] = None
    return {kind: [*ids] for kind, ids in found.items()}


def _version(entry: Json, resource: Json | None, changed: tuple[str, ...] | None) -> Version:
    response = entry.get("response")
    number = words(part(resource, "meta", "versionId")) or words(part(response, "etag")).strip('W/"')
    return Version(
        number=number or "?",
        updated=words(part(resource, "meta", "lastUpdated")) or words(part(response, "lastModified")),
        deleted=words(part(entry, "request", "method")) == "DELETE",
        source=words(part(resource, "meta", "source")),
        resource=resource,
        changed=changed,
    )


def in_words(old: Json, new: Json, names: Mapping[str, str], language: Language) -> list[str]:
    """A sentence for each change."""
    teller = _Teller(old, new, names, language)
    return [teller.told(one) for one in changes(old, new) if one.path[:2] not in _HEADING]


@dataclass(frozen=True, slots=True)
class _Teller:
    old: Json
    new: Json
    names: Mapping[str, str]
    language: Language

    def told(self, change: Change) -> str:
        if change.path[:1] == ("participant",) and len(change.path) >= 2:
            return self._of_member(change)
        return self._plain(self._label(change.path), change)

    def _of_member(self, change: Change) -> str:
        if len(change.path) == 2:
            member = change.old if change.kind is Kind.REMOVED else change.new
            key = f"diff.member.{change.kind}"
            return self._say(key, who=self._member(member), role=self._role(member))
        place = change.path[1]
        listed = self.new.get("participant")
        holder = listed[place] if isinstance(listed, list) and isinstance(place, int) else None
        inner = tuple(one for one in change.path[2:] if isinstance(one, str))
        known = next((one for one in _MEMBER_PARTS if inner[: len(one)] == one), None)
        what = (
            "/".join(map(str, change.path[2:]))
            if known is None
            else self._say(f"diff.part.{'.'.join(known)}")
        )
        return self._plain(f"{self._member(holder)}, {what}", change)

    def _plain(self, label: str, change: Change) -> str:
        return self._say(
            f"diff.{change.kind}",
            what=label,
            old=self._shown(change.path, change.old),
            new=self._shown(change.path, change.new),
        )

    def _label(self, path: tuple[str | int, ...]) -> str:
        top = str(path[0]) if path else ""
        base = top.removeprefix("_")
        if base not in _LABELLED:
            return self._place(path)
        label = self._say(f"diff.label.{base}")
        return label if path == (base,) else f"{label} ({self._place(path)})"

    def _place(self, path: tuple[str | int, ...]) -> str:
        made = ""
        for one in path:
            made += f"[{one + 1}]" if isinstance(one, int) else ("." if made else "") + one
        return made or "CareTeam"

    def _member(self, participant: object) -> str:
        reference = reference_of(part(participant, "member"))
        return self.names.get(reference) or words(part(participant, "member", "display")) or reference or "?"

    def _role(self, participant: object) -> str:
        role = coded(part(participant, "role"), self.language)
        start = words(part(participant, "period", "start"))
        told = [role, self._say("diff.from", day=start) if start else ""]
        joined = ", ".join(filter(None, told))
        return f" ({joined})" if joined else ""

    def _shown(self, path: tuple[str | int, ...], value: Any) -> str:
        """A value for people: text as it stands, shortened; a reference by its name; markup not at all."""
        if path[-1:] == ("div",):
            return "…"
        if isinstance(value, str):
            told = self.names.get(value, value)
        elif isinstance(value, dict):
            reference = reference_of(value)
            told = self.names.get(reference, reference) or coded(value, self.language) or _flat(value)
        elif isinstance(value, list):
            told = ", ".join(self._shown(path, one) for one in value)
        else:
            told = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        return told if len(told) <= _SHOWN else told[: _SHOWN - 1] + "…"

    def _say(self, key: str, **params: str) -> str:
        return text(key, self.language, **params)


def _flat(value: Mapping[str, Any]) -> str:
    """The texts in a tree, one behind the other."""
    told: list[str] = []
    for name, one in value.items():
        if name == "div":
            told.append("…")
        elif isinstance(one, dict):
            told.append(_flat(one))
        elif isinstance(one, list):
            told += [_flat(item) if isinstance(item, dict) else str(item) for item in one]
        else:
            told.append(str(one))
    return " ".join(filter(None, told))


@dataclass(frozen=True, slots=True)
class Holding:
    """A manager that holds the circle. `id`: its public id there."""

    manager: str
    region: str
    home: bool
    active: bool
    id: str
    version: str


@dataclass(frozen=True, slots=True)
class Holdings:
    """`unknown`: managers of which the index does not hold everything, nor this circle; `closed`: those out of the
    client's reach."""

    held: tuple[Holding, ...]
    unknown: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


def holdings(located: Json) -> Holdings:
    """From the `Parameters` of `CareTeam/$locate`."""
    parameters = items(located.get("parameter"))
    named: dict[str, list[str]] = {"unknown": [], "not-authorised": []}
    held = []
    for one in parameters:
        values = _values(items(one.get("part")))
        name = words(one.get("name"))
        if name == "circle":
            held.append(
                Holding(
                    manager=str(values.get("gestionnaire", "?")),
                    region=REGIONS.get(str(values.get("region")), str(values.get("region", ""))),
                    home=bool(values.get("home")),
                    active=bool(values.get("active")),
                    id=reference_of(values.get("reference")).removeprefix("CareTeam/"),
                    version=str(values.get("version", "")),
                )
            )
        elif name in named:
            named[name].append(str(values.get("gestionnaire", "?")))
    holders = {one.manager for one in held}
    unknown = [one for one in named["unknown"] if one not in holders]
    return Holdings(tuple(held), tuple(unknown), tuple(named["not-authorised"]))


def _values(parts: Sequence[Json]) -> dict[str, Any]:
    return {
        words(one.get("name")): value
        for one in parts
        for name, value in one.items()
        if name.startswith("value")
    }
