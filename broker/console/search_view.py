"""Results of a search as people read them: circles with their person and members. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from broker.console.resource_words import Json, coded, items, name_of, part, reference_of, words
from broker.console.timeline import Bar, Line, Span, line
from broker.core.dedup import REPLICA_CODE, REPLICA_SYSTEM, home_of
from broker.core.outcome import GESTIONNAIRE_SYSTEM, OUTCOME_SYSTEM, Language
from broker.core.persons import INS_SYSTEMS
from registry.model import REGIONS, TRE_R30, Gestionnaire


@dataclass(frozen=True, slots=True)
class Person:
    """`ins`: the number alone. `known`: whether the person's own resource came with the circle."""

    reference: str
    name: str
    birthdate: str = ""
    ins: str = ""
    known: bool = True


@dataclass(frozen=True, slots=True)
class Stay:
    """One period of a member in the circle, and where it is drawn."""

    span: Span
    bar: Bar | None


@dataclass(frozen=True, slots=True)
class Member:
    """`kind`: the resource type. Who left and came back is one member with several stays."""

    reference: str
    kind: str
    name: str
    role: str
    detail: str
    stays: tuple[Stay, ...]


@dataclass(frozen=True, slots=True)
class Circle:
    """`home`: the slug of the manager whose circle it is; of a replica that of the home it names, "" where that is not
    registered. `shown`: the manager whose copy this is. `region`: a name."""

    id: str
    name: str
    status: str
    person: Person
    members: tuple[Member, ...]
    span: Span
    line: Line
    shown: str
    home: str
    replica: bool
    region: str
    updated: str
    version: str
    identifiers: tuple[tuple[str, str], ...]
    managing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Issue:
    """`key`: the row of the broker's texts; `manager`: a slug, or ""."""

    severity: str
    text: str
    key: str
    manager: str


@dataclass(frozen=True, slots=True)
class Results:
    """`answered`: False where nobody did, and the issues say why."""

    circles: tuple[Circle, ...]
    issues: tuple[Issue, ...]
    total: int | None = None
    next: str | None = None
    previous: str | None = None
    first: str | None = None
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """What a view must know beside the Bundle. `bases`: registered base addresses to slugs."""

    public_base: str
    bases: Mapping[str, str]
    managers: Mapping[str, Gestionnaire]
    today: dt.date
    language: Language


@dataclass(frozen=True, slots=True)
class Included:
    """The resources that came along, by reference, and the circles themselves."""

    resources: Mapping[str, Json] = field(default_factory=dict)

    def get(self, reference: str) -> Json | None:
        return self.resources.get(reference)

    def name(self, reference: str) -> str:
        """Of a person, a structure, or a professional through the role's practitioner; "" where unknown."""
        resource = self.get(reference)
        if resource is None:
            return ""
        if resource.get("resourceType") == "PractitionerRole":
            practitioner = reference_of(resource.get("practitioner"))
            return self.name(practitioner) or words(part(resource, "practitioner", "display"))
        return name_of(resource)

    def names(self) -> dict[str, str]:
        return {reference: name for reference in self.resources if (name := self.name(reference))}


def results(bundle: Json, known: Known) -> Results:
    """A searchset of circles, or the OperationOutcome in its place."""
    if bundle.get("resourceType") == "OperationOutcome":
        return Results((), issues(bundle), answered=False)
    entries = items(bundle.get("entry"))
    included = included_in(bundle)
    matches = [_resource(one) for one in entries if part(one, "search", "mode") == "match"]
    outcomes = [_resource(one) for one in entries if part(one, "search", "mode") == "outcome"]
    total = bundle.get("total")
    return Results(
        circles=tuple(circle(one, included, known) for one in matches),
        issues=tuple(issue for one in outcomes for issue in issues(one)),
        total=total if isinstance(total, int) else None,
        next=_token(bundle, "next"),
        previous=_token(bundle, "previous"),
        first=_token(bundle, "first"),
    )


def included_in(bundle: Json) -> Included:
    resources = [_resource(one) for one in items(bundle.get("entry"))]
    return Included({f"{one.get('resourceType')}/{one.get('id')}": one for one in resources if one.get("id")})


def issues(outcome: Json) -> tuple[Issue, ...]:
    return tuple(map(_issue, items(outcome.get("issue"))))


def _issue(one: Json) -> Issue:
    codes = {
        words(code.get("system")): words(code.get("code")) for code in items(part(one, "details", "coding"))
    }
    return Issue(
        severity=words(one.get("severity")) or "information",
        text=words(part(one, "details", "text")) or words(one.get("diagnostics")),
        key=codes.get(OUTCOME_SYSTEM, ""),
        manager=codes.get(GESTIONNAIRE_SYSTEM, ""),
    )


def circle(resource: Json, included: Included, known: Known) -> Circle:
    identifier = words(resource.get("id"))
    shown = identifier.partition(".")[0]
    replica = any(
        (one.get("system"), one.get("code")) == (REPLICA_SYSTEM, REPLICA_CODE)
        for one in items(part(resource, "meta", "tag"))
    )
    home = (
        home_of(words(part(resource, "meta", "source")), known.public_base, known.bases) if replica else shown
    )
    span = _span(resource.get("period"))
    drawn, members = _members(resource, span, included, known)
    return Circle(
        id=identifier,
        name=words(resource.get("name")),
        status=words(resource.get("status")),
        person=_person(resource.get("subject"), included),
        members=members,
        span=span,
        line=drawn,
        shown=shown,
        home=home or "",
        replica=replica,
        region=_region(resource, shown, known),
        updated=words(part(resource, "meta", "lastUpdated")),
        version=words(part(resource, "meta", "versionId")),
        identifiers=tuple(
            (words(one.get("system")), words(one.get("value"))) for one in items(resource.get("identifier"))
        ),
        managing=tuple(
            included.name(reference) or words(one.get("display")) or reference
            for one in items(resource.get("managingOrganization"))
            if (reference := reference_of(one)) or one.get("display")
        ),
    )


def _person(subject: object, included: Included) -> Person:
    reference = reference_of(subject)
    patient = included.get(reference)
    if patient is None:
        return Person(reference, words(part(subject, "display")), known=False)
    numbers = [
        words(one.get("value"))
        for one in items(patient.get("identifier"))
        if one.get("system") in INS_SYSTEMS
    ]
    return Person(reference, name_of(patient), words(patient.get("birthDate")), next(iter(numbers), ""))


def _members(
    resource: Json, whole: Span, included: Included, known: Known
) -> tuple[Line, tuple[Member, ...]]:
    participants = items(resource.get("participant"))
    by_member: dict[str, list[Json]] = {}
    for place, one in enumerate(participants):
        by_member.setdefault(reference_of(one.get("member")) or f"#{place}", []).append(one)
    stays = [_span(one.get("period")) for one in participants]
    drawn = line([one for one in [whole, *stays] if one.start or one.end], known.today)
    members = [_member(reference, held, included, drawn, known) for reference, held in by_member.items()]
    return drawn, tuple(members)


def _member(reference: str, held: Sequence[Json], included: Included, drawn: Line, known: Known) -> Member:
    found: Json = included.get(reference) or {}
    kind = reference.partition("/")[0] if "/" in reference else ""
    roles = list(dict.fromkeys(filter(None, (coded(one.get("role"), known.language) for one in held))))
    name = included.name(reference) or next(
        filter(None, (words(part(one, "member", "display")) for one in held)), ""
    )
    spans = [_span(one.get("period")) for one in held]
    return Member(
        reference=reference,
        kind=kind,
        name=name,
        role=", ".join(roles),
        detail=_detail(kind, found, included, known.language),
        stays=tuple(Stay(span, drawn.bar(span)) for span in spans),
    )


def _detail(kind: str, found: Json, included: Included, language: Language) -> str:
    """What a professional is and where, what a relation is."""
    if kind == "PractitionerRole":
        told = [coded(found.get("code"), language), included.name(reference_of(found.get("organization")))]
        return ", ".join(filter(None, told))
    return coded(found.get("relationship"), language) if kind == "RelatedPerson" else ""


def _region(resource: Json, shown: str, known: Known) -> str:
    tagged = next(
        (
            words(one.get("code"))
            for one in items(part(resource, "meta", "tag"))
            if one.get("system") == TRE_R30
        ),
        "",
    )
    manager = known.managers.get(shown)
    code = tagged or ("" if manager is None else manager.region)
    return REGIONS.get(code, code)


def _span(period: object) -> Span:
    return Span(words(part(period, "start")), words(part(period, "end")))


def _resource(entry: Json) -> Json:
    held: Any = entry.get("resource")
    return held if isinstance(held, dict) else {}


def _token(bundle: Json, relation: str) -> str | None:
    """The opaque part of a page's link: it goes by POST, as the search did."""
    url = next(
        (words(one.get("url")) for one in items(bundle.get("link")) if one.get("relation") == relation), ""
    )
    return next(iter(parse_qs(urlsplit(url).query).get("_page", [])), None)
