"""An access as FHIR R4 AuditEvents in the shape of IHE BALP 1.1 (Basic Audit Log Patterns): one for each person. Pure.

Made of bytes, not of trees, and without displays of codes: it happens at every request. What is the same for all
accesses of a client is made once. Whoever flows data is the source of an exchange in BALP: the client of a query or
a write, the server of a read. What BALP has no place for (status, managers asked, a route's name) stands as `detail`
of the entity of the request itself.
"""

from __future__ import annotations

import datetime as dt
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from broker.core.access.principal import Purpose, User
from broker.core.audit.access import Access, Interruption, Outcome
from broker.core.audit.audited import Audited, Kind

BALP: Final = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
MAX_QUERY: Final = 8_192
"""Bytes of a raw query that are kept; of a longer one the length is told."""

Events = tuple[bytes, Sequence[bytes]]
"""AuditEvents in JSON: what they have in common, and how each goes on and ends."""

_DICOM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_RECORD: Final = b'"resourceType":"AuditEvent"'
_TYPES: Mapping[Kind, dict[str, str]] = {
    Kind.REST: {
        "system": "http://terminology.hl7.org/CodeSystem/audit-event-type",
        "code": "rest",
    },
    Kind.ADMINISTRATION: {"system": "urn:cds-broker:audit", "code": "administration"},
    Kind.DISCLOSURE: {"system": _DICOM, "code": "110106"},
    Kind.AUDIT_USED: {"system": _DICOM, "code": "110101"},
    Kind.AUTHENTICATION: {"system": _DICOM, "code": "110114"},
}
_RESTFUL = "http://hl7.org/fhir/restful-interaction"
_OWN = "urn:cds-broker:interaction"
_SYSTEMS: Mapping[Kind, str] = {Kind.REST: _RESTFUL, Kind.AUTHENTICATION: _DICOM}
"""Of the codes of what was done; all others are our own."""
_OBJECT = {"system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "2"}
_PERSON = {"system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "1"}
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_REQUEST_TYPE = {
    "system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",
    "code": "XrequestId",
}
_SOURCE_OF, _DESTINATION = "110153", "110152"  # Source Role ID, Destination Role ID
_PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_RPPS = "https://rpps.esante.gouv.fr"
_ID_NAT = re.compile(r"8([0-9]{11})")
"""The national identifier of Pro Santé Connect: the kind of number, 8 for RPPS, and the number."""
_KEPT = 1024  # prepared beginnings; a federation has fewer clients


class EventWriter:
    """`base_url`: the broker's FHIR base, for references and as its own name. `observer`: who of its workers writes."""

    def __init__(self, base_url: str, observer: str) -> None:
        self._base = base_url
        self._server = {
            "who": {"identifier": {"value": base_url}},
            "requestor": False,
            "network": {"address": base_url, "type": "5"},
        }
        source = {
            "site": observer,
            "observer": {"identifier": {"value": base_url}},
            "type": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/security-source-type",
                    "code": "4",
                }
            ],
        }
        self._source = b',"source":' + orjson.dumps(source) + b',"entity":['
        self._person = (
            b'{"what":{"reference":"',
            b'"},"type":' + orjson.dumps(_PERSON) + b',"role":' + _role("1") + b"}]}",
        )
        self._heads: dict[tuple[Audited, bool, bool], bytes] = {}
        self._agents: dict[
            tuple[Audited, str | None, User | None, str | None, tuple[Purpose, ...]], bytes
        ] = {}

    def events(self, access: Access) -> Events:
        """Of a success each conforms to its BALP profile, where there is one for the interaction."""
        front = b"".join(
            (
                self._head(access),
                _instant(access.at),
                b'","outcome":"',
                access.outcome.encode(),
                b'","outcomeDesc":' + _text(access.reason) if access.reason else b'"',
                self._agents_of(access),
                self._source,
                b",".join([*self._objects(access), self._request(access)]),
            )
        )
        if not access.persons:
            return front, (b"]}",)
        before, after = self._person
        return front + b",", [
            b"%b%b%b" % (before, self._reference(one), after) for one in sorted(access.persons)
        ]

    def interruption(self, told: Interruption) -> Events:
        """DICOM 110113, "Security Alert": the trail has a hole, and how large it is."""
        event = {
            "resourceType": "AuditEvent",
            "type": {"system": _DICOM, "code": "110113"},
            "subtype": [{"system": _OWN, "code": "audit-interrupted"}],
            "action": "E",
            "period": {"start": _instant(told.since).decode(), "end": _instant(told.until).decode()},
            "recorded": _instant(told.until).decode(),
            "outcome": Outcome.SERIOUS,
            "outcomeDesc": "audit.unavailable",
            "agent": [{"type": _dicom(_SOURCE_OF), **self._server}],
        }
        entity = {
            "type": _OBJECT,
            "description": "requests that were refused, and accesses without a trace",
            "detail": [
                {"type": "refused", "valueString": str(told.refused)},
                {"type": "lost", "valueString": str(told.lost)},
            ],
        }
        return orjson.dumps(event)[:-1] + self._source, (orjson.dumps(entity) + b"]}",)

    def _head(self, access: Access) -> bytes:
        kind, conforms = access.interaction, _conforms(access)
        key = (kind, conforms, bool(access.persons))
        head = self._heads.get(key)
        if head is None:
            profile = f"{BALP}{'Patient' if access.persons else ''}{kind.profile}"
            system = _OWN if kind.code == "unknown" else _SYSTEMS.get(kind.kind, _OWN)
            head = self._heads[key] = b"".join(
                (
                    b"{" + _RECORD,
                    b',"meta":{"profile":[' + _text(profile) + b"]}" if conforms else b"",
                    b',"type":' + orjson.dumps(_TYPES[kind.kind]),
                    b',"subtype":[' + orjson.dumps({"system": system, "code": kind.code}) + b"]",
                    b',"action":"' + kind.action.encode() + b'","recorded":"',
                )
            )
        return head

    def _agents_of(self, access: Access) -> bytes:
        """To what end, and who."""
        key = (access.interaction, access.client, access.user, access.address, access.purposes)
        agents = self._agents.get(key)
        if agents is None:
            if len(self._agents) >= _KEPT:
                self._agents.clear()
            purposes = [_purpose(one) for one in access.purposes]
            told = b',"purposeOfEvent":' + orjson.dumps(purposes) if purposes else b""
            agents = told + b',"agent":' + orjson.dumps(_agents(access, self._server))
            self._agents[key] = agents
        return agents

    def _objects(self, access: Access) -> list[bytes]:
        """What was asked for, and what was read, written or pointed to by name."""
        named = [
            b'{"what":{"reference":"%b"},"type":%b,"role":%b}'
            % (self._reference(one), _OBJECT_JSON, _DOMAIN_ROLE)
            for one in sorted(access.resources)
        ]
        if not access.interaction.queried:
            return named
        asked = b'{"type":%b,"role":%b,"query":"%b"}' % (
            _OBJECT_JSON,
            _QUERY_ROLE,
            b64encode(access.query[:MAX_QUERY]),
        )
        return [asked, *named]

    def _reference(self, to: str) -> bytes:
        """Absolute: who keeps the trail need not know whose it is."""
        return _inner(to if ":" in to else f"{self._base}/{to}")

    def _request(self, access: Access) -> bytes:
        """The entity of the request: its X-Request-Id, as BALP has it, and what else is to be known of it."""
        details = [b'{"type":"status","valueString":"%d"}' % access.status]
        details += [b'{"type":"manager","valueString":%b}' % _text(slug) for slug in sorted(access.managers)]
        details += [
            b'{"type":%b,"valueString":%b}' % (_text(name), _text(value)) for name, value in access.details
        ]
        if access.risk_accepted:
            details.append(b'{"type":"uniqueness","valueString":"risk-accepted"}')
        if len(access.query) > MAX_QUERY:
            details.append(b'{"type":"query-bytes","valueString":"%d"}' % len(access.query))
        identifier = _text(access.request_id)
        return b'{"what":{"identifier":{"value":%b}},"type":%b,"detail":[%b]}' % (
            identifier,
            _REQUEST_JSON,
            b",".join(details),
        )


def _conforms(access: Access) -> bool:
    """BALP's profiles are of successes; those of reads and writes are of exactly one resource."""
    kind = access.interaction
    if kind.profile is None or access.outcome is not Outcome.SUCCESS:
        return False
    return kind.queried or len(access.resources) == 1


def _agents(access: Access, server: dict[str, object]) -> list[dict[str, object]]:
    kind = access.interaction
    # In a query and in a write it is the client that sends; what is read flows the other way (BALP, 3:5.7.4).
    sending = kind.code not in ("read", "vread", "disclosure")
    client: dict[str, object] = {
        "type": _dicom(_SOURCE_OF if sending else _DESTINATION),
        "who": {"identifier": {"value": _clean(access.client)}}
        if access.client
        else {"display": "unauthenticated"},
        "requestor": access.user is None,
        "network": {"address": access.address or "unknown", "type": "2" if access.address else "1"},
    }
    agents = [client, {"type": _dicom(_DESTINATION if sending else _SOURCE_OF), **server}]
    if access.user is not None:
        agents.append(_user(access.user, author=kind.code in ("create", "update", "delete")))
    return agents


def _user(user: User, *, author: bool) -> dict[str, object]:
    code = "AUT" if author else "IRCP"  # author, information recipient
    agent: dict[str, object] = {
        "type": {"coding": [{"system": _PARTICIPATION, "code": code}]},
        "who": {"identifier": {"system": _clean(user.issuer), "value": _clean(user.subject)}},
        "requestor": True,
    }
    professional = _ID_NAT.fullmatch(user.identifier or "")
    if professional is not None:
        agent["who"] = {"identifier": {"system": _RPPS, "value": professional[1]}}
        agent["altId"] = _clean(f"{user.issuer}|{user.subject}")
    elif user.identifier:
        agent["altId"] = _clean(user.identifier)
    if user.name:
        agent["name"] = _clean(user.name)
    return agent


def _purpose(purpose: Purpose) -> dict[str, object]:
    coding = {"code": _clean(purpose.code)}
    if purpose.system is not None:
        coding = {"system": _clean(purpose.system), **coding}
    return {"coding": [coding]}


def _dicom(code: str) -> dict[str, object]:
    return {"coding": [{"system": _DICOM, "code": code}]}


def _role(code: str) -> bytes:
    return orjson.dumps({"system": _ROLE, "code": code})


def _instant(at: dt.datetime) -> bytes:
    return at.isoformat(timespec="milliseconds").encode()


def _clean(text: str | None) -> str:
    """What a FHIR string may hold: some character, and no control characters or lone surrogates."""
    plain = (text or "").encode("utf-8", "replace").decode()
    return "".join(one if one.isprintable() else " " for one in plain).strip() or "?"


def _text(text: str | None) -> bytes:
    return orjson.dumps(_clean(text))


def _inner(text: str) -> bytes:
    """Within a JSON string."""
    return orjson.dumps(text.encode("utf-8", "replace").decode())[1:-1]


_OBJECT_JSON = orjson.dumps(_OBJECT)
_REQUEST_JSON = orjson.dumps(_REQUEST_TYPE)
_QUERY_ROLE = _role("24")
_DOMAIN_ROLE = _role("4")
