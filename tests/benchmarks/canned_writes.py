"""Managers that take writes, as cheap as can be: what is sent comes back with an id and a version spliced into it.

They know any Patient `w{number}`, whose identifier is made of the number, and any circle `u{number}`, which is that
Patient's. What feeds the index is that of `canned_located`: nothing of what is written shows there.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import orjson

from tests.benchmarks.canned_located import SYSTEM, Holder
from tests.benchmarks.canned_managers import MANAGERS, Serving, _listen
from tests.benchmarks.children import main, say, serve_commands

_META = b'"meta":{"versionId":"%d","lastUpdated":"2026-02-01T00:00:00.000Z",'
_HEAD = (
    b'HTTP/1.1 %b\r\nContent-Type: application/fhir+json; charset=utf-8\r\nETag: W/"%d"\r\n'
    b"Last-Modified: Sun, 01 Feb 2026 00:00:00 GMT\r\nLocation: %b\r\nContent-Length: %d\r\n\r\n"
)
PROFILE = "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/cds-ihe-careteam"
_NUMBER = "424242424"


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


class Written(Holder):
    """`versions`: of circles that were updated, the last one and its content."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._ids = itertools.count(1)
        self.versions: dict[bytes, tuple[int, bytes]] = {}
        self.requests = 0
        self._patient = orjson.dumps(patient(_NUMBER))
        self._circle = orjson.dumps(circle(_NUMBER))

    def reply(self, request: bytes) -> bytes:
        line, _, _ = request.partition(b"\r\n")
        method, target, _ = line.split(b" ")
        kind, _, identity = target.removeprefix(b"/fhir/").partition(b"/")
        if identity.startswith((b"w", b"u", b"n")) or (
            method == b"POST" and kind == b"CareTeam" and not identity
        ):
            self.requests += 1
            return self._written(method, kind, identity, request)
        return super().reply(request)

    def _written(self, method: bytes, kind: bytes, identity: bytes, request: bytes) -> bytes:
        if kind == b"Patient":
            return _answer(b"200 OK", 1, b"", self._patient.replace(_NUMBER.encode(), identity[1:]))
        if method == b"POST":
            made = b"n%d" % next(self._ids)
            body = _with_meta(request.partition(b"\r\n\r\n")[2], made, 1)
            return _answer(b"201 Created", 1, b"CareTeam/%b/_history/1" % made, body)
        version, body = self.versions.get(identity, (1, b""))
        if method == b"PUT":
            version, body = version + 1, _with_version(request.partition(b"\r\n\r\n")[2], version + 1)
            self.versions[identity] = version, body
        elif not body:
            body = _with_meta(self._circle.replace(_NUMBER.encode(), identity[1:]), identity, 1)
        return _answer(b"200 OK", version, b"CareTeam/%b/_history/%d" % (identity, version), body)


def _with_meta(body: bytes, identity: bytes, version: int) -> bytes:
    return _with_version(body, version).replace(b'"meta":', b'"id":"%b","meta":' % identity, 1)


def _with_version(body: bytes, version: int) -> bytes:
    return body.replace(b'"meta":{', _META % version, 1)


def _answer(status: bytes, version: int, location: bytes, body: bytes) -> bytes:
    return _HEAD % (status, version, location, len(body)) + body


async def work(_: Any) -> None:
    holders = [Written(number) for number in range(MANAGERS)]
    say({"bases": [await _listen(partial(Serving, one)) for one in holders]})
    await serve_commands(
        {
            "searches": lambda _: sum(one.searches for one in holders),
            "requests": lambda _: sum(one.requests for one in holders),
        }
    )


if __name__ == "__main__":
    main(work)
