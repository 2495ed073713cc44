"""Managers that take writes, as cheap as can be: what is sent comes back with an id and a version spliced into it.

They know any Patient `w{number}`, whose identifier is made of the number, and any circle `u{number}`, which is that
Patient's. What feeds the index is that of `canned_located`: nothing of what is written shows there. A search by `_id` gives
a circle with its actors, as what publishes changes asks for it. A transaction is answered, and forgotten.
"""

from __future__ import annotations

import itertools
import re
from functools import partial
from typing import Any

import orjson

from tests.benchmarks.canned_located import NOBODY, SYSTEM, Holder
from tests.benchmarks.canned_managers import MANAGERS, Serving, _listen, answer
from tests.benchmarks.children import main, say, serve_commands

_META = b'"meta":{"versionId":"%d","lastUpdated":"2026-02-01T00:00:00.000Z",'
_HEAD = (
    b'HTTP/1.1 %b\r\nContent-Type: application/fhir+json; charset=utf-8\r\nETag: W/"%d"\r\n'
    b"Last-Modified: Sun, 01 Feb 2026 00:00:00 GMT\r\nLocation: %b\r\nContent-Length: %d\r\n\r\n"
)
PROFILE = "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam"
_NUMBER = "424242424"
_SUBJECT = re.compile(rb'"Patient/w(\w+)"')
_BY_ID = re.compile(rb"(?:^|[?&])_id=([nu]\d+)")


def circle(number: int | str, prefix: str = "") -> dict[str, Any]:
    """A circle of `Patient/{prefix}w{number}` with three members."""
    members = [
        f"PractitionerRole/{prefix}role-1",
        f"PractitionerRole/{prefix}role-2",
        f"Organization/{prefix}org",
    ]
    return {
        "resourceType": "CareTeam",
        "meta": {"profile": [PROFILE]},
        "identifier": [{"system": "https://cds.example/circles", "value": f"w-{number}"}],
        "status": "active",
        "category": [{"coding": [{"system": "http://loinc.org", "code": "LA27976-2"}]}],
        "name": f"Cercle de soins {number}",
        "subject": {"reference": f"Patient/{prefix}w{number}"},
        "period": {"start": "2026-01-10"},
        "participant": [
            {
                "role": [
                    {
                        "coding": [
                            {"system": "https://mos.esante.gouv.fr/NOS/TRE_R260-HL7RoleClass", "code": "PCP"}
                        ]
                    }
                ],
                "member": {"reference": member},
                "period": {"start": "2026-01-10"},
            }
            for member in members
        ],
        "managingOrganization": [{"reference": f"Organization/{prefix}org"}],
    }


def patient(number: str) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": f"w{number}",
        "meta": {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00.000Z"},
        "identifier": [{"system": SYSTEM, "value": f"INS-W-{number}"}],
        "name": [{"use": "official", "family": "EXEMPLE", "given": ["Dominique"]}],
        "gender": "female",
        "birthDate": "1951-09-09",
        "address": [{"city": "Rennes", "postalCode": "35000"}],
    }


def actors() -> list[dict[str, Any]]:
    """Everybody in a circle but its Patient."""
    meta = {"versionId": "1", "lastUpdated": "2026-01-01T00:00:00.000Z"}
    made: list[dict[str, Any]] = [
        {
            "resourceType": "Organization",
            "id": "org",
            "meta": meta,
            "identifier": [{"system": "https://finess.esante.gouv.fr", "value": "350000001"}],
            "name": "Cabinet des Lices",
        }
    ]
    for number in (1, 2):
        made += [
            {
                "resourceType": "PractitionerRole",
                "id": f"role-{number}",
                "meta": meta,
                "identifier": [{"system": "https://cds.example/roles", "value": str(number)}],
                "practitioner": {"reference": f"Practitioner/carer-{number}"},
                "organization": {"reference": "Organization/org"},
            },
            {
                "resourceType": "Practitioner",
                "id": f"carer-{number}",
                "meta": meta,
                "identifier": [{"system": "https://rpps.esante.gouv.fr", "value": f"1099999999{number}"}],
                "name": [{"family": "MODELE", "given": ["Anne"]}],
            },
        ]
    return made


class Written(Holder):
    """`versions`: of circles that were written, the last one and its content. `empty`: there is nothing to be crawled."""

    def __init__(self, number: int, *, empty: bool = False) -> None:
        super().__init__(number)
        self._empty = empty
        self._ids = itertools.count(1)
        self.versions: dict[bytes, tuple[int, bytes]] = {}
        self.requests = 0
        self._patient = orjson.dumps(patient(_NUMBER))
        self._circle = orjson.dumps(circle(_NUMBER))
        self._actors = b"".join(
            b',{"resource":%b,"search":{"mode":"include"}}' % orjson.dumps(one) for one in actors()
        )

    def reply(self, request: bytes) -> bytes:
        line, _, _ = request.partition(b"\r\n")
        method, target, _ = line.split(b" ")
        if method == b"POST" and target in (b"/fhir", b"/fhir/"):
            self.requests += 1
            return self._transacted(request.partition(b"\r\n\r\n")[2])
        if target.startswith((b"/fhir/CareTeam?", b"/fhir/CareTeam/_search")) and (found := _sought(request)):
            return self._with_actors(found)
        kind, _, identity = target.removeprefix(b"/fhir/").partition(b"/")
        if identity.startswith((b"w", b"u", b"n")) or (
            method == b"POST" and kind == b"CareTeam" and not identity
        ):
            self.requests += 1
            return self._written(method, kind, identity, request)
        return NOBODY if self._empty else super().reply(request)

    def _written(self, method: bytes, kind: bytes, identity: bytes, request: bytes) -> bytes:
        if kind == b"Patient":
            return _answer(b"200 OK", 1, b"", self._patient.replace(_NUMBER.encode(), identity[1:]))
        if method == b"GET":
            version, body = self._held(identity)
            return _answer(b"200 OK", version, b"CareTeam/%b/_history/%d" % (identity, version), body)
        if method == b"POST":
            made = b"n%d" % next(self._ids)
            body = _with_meta(request.partition(b"\r\n\r\n")[2], made, 1)
            self.versions[made] = 1, body
            return _answer(b"201 Created", 1, b"CareTeam/%b/_history/1" % made, body)
        version = self._held(identity)[0] + 1
        body = _with_version(request.partition(b"\r\n\r\n")[2], version)
        self.versions[identity] = version, body
        return _answer(b"200 OK", version, b"CareTeam/%b/_history/%d" % (identity, version), body)

    def _transacted(self, body: bytes) -> bytes:
        """Every entry done. Nothing is kept of it."""
        entries = []
        for entry in orjson.loads(body)["entry"]:
            made = entry["request"]["method"] == "POST"
            kind, _, identity = entry["request"]["url"].partition("/")
            version = 1 if made else 2
            entries.append(
                {
                    "response": {
                        "status": "201 Created" if made else "200 OK",
                        "location": f"{kind}/{identity or f'n{next(self._ids)}'}/_history/{version}",
                        "etag": f'W/"{version}"',
                        "lastModified": "2026-02-01T00:00:00.000Z",
                    }
                }
            )
        return answer(
            orjson.dumps({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})
        )

    def _held(self, identity: bytes) -> tuple[int, bytes]:
        """A circle as it is now: its version and its bytes."""
        first = _with_meta(self._circle.replace(_NUMBER.encode(), identity[1:]), identity, 1)
        return self.versions.get(identity, (1, first))

    def _with_actors(self, identity: bytes) -> bytes:
        _, held = self._held(identity)
        subject = _SUBJECT.search(held)
        assert subject is not None
        person = self._patient.replace(_NUMBER.encode(), subject[1])
        return answer(
            b'{"resourceType":"Bundle","type":"searchset","total":1,"entry":[{"resource":%b,"search":{"mode":"match"}},'
            b'{"resource":%b,"search":{"mode":"include"}}%b]}' % (held, person, self._actors)
        )


def _sought(request: bytes) -> bytes | None:
    """The one written circle that is searched for by its id."""
    head, _, body = request.partition(b"\r\n\r\n")
    found = _BY_ID.search(body or head.partition(b" HTTP/")[0])
    return None if found is None else found[1]


def _with_meta(body: bytes, identity: bytes, version: int) -> bytes:
    return _with_version(body, version).replace(b'"meta":', b'"id":"%b","meta":' % identity, 1)


def _with_version(body: bytes, version: int) -> bytes:
    return body.replace(b'"meta":{', _META % version, 1)


def _answer(status: bytes, version: int, location: bytes, body: bytes) -> bytes:
    return _HEAD % (status, version, location, len(body)) + body


async def work(argument: Any) -> None:
    empty = bool(argument.get("empty", False))
    holders = [Written(number, empty=empty) for number in range(MANAGERS)]
    say({"bases": [await _listen(partial(Serving, one)) for one in holders]})
    await serve_commands(
        {
            "searches": lambda _: sum(one.searches for one in holders),
            "requests": lambda _: sum(one.requests for one in holders),
        }
    )


if __name__ == "__main__":
    main(work)
