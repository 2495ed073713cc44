"""Reading, rewriting, merging and writing one searchset, against `orjson.loads` + `orjson.dumps` of the same bytes.

13 managers each answer with a Bundle of 10 circles, 4 resources a circle: 577 KB in all, always the same bytes. Both
sides run in alternating rounds in one process, so that a busy machine slows both.

Run with `python -m tests.benchmarks.bench_merge` (`--profile` shows where our time goes).
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from operator import attrgetter
from time import process_time
from typing import Any

import orjson

from broker.core.bundle import Entry, read_searchset
from broker.core.bundle_writer import write_searchset
from broker.core.identity import Origin
from registry.model import REGIONS
from tests.benchmarks import spread
from tests.benchmarks.merge_on_trees import merge_on_trees

PUBLIC = "https://cercles.exemple.fr/fhir"
MANAGERS, CIRCLES, TARGET = 13, 10, 577_000
PROFILES = "https://interop.esante.gouv.fr/ig/fhir/cds/StructureDefinition/"
MOS = "https://mos.esante.gouv.fr/NOS/"
FR = "https://hl7.fr/ig/fhir/core/CodeSystem/"
FAMILIES = (
    "Thobois",
    "Le Goff",
    "Kerbrat",
    "Ducros",
    "Möller",
    "Garcia",
    "N'Diaye",
    "Lefèvre",
    "Guégan",
    "Roux",
)
GIVEN = ("Jacques", "Éloïse", "Yann", "Anaïs", "Loïc", "Maëlle", "Paul", "Zoé", "Ismaël", "Inès")


LIMIT = 1.0
"""Times `orjson.loads` + `orjson.dumps` of the same bytes."""

Answer = tuple[Origin, bytes]
"""A manager and what it answered."""


def bundles(
    *, narrative: int | None = None, managers: int = MANAGERS, circles: int = CIRCLES
) -> list[Answer]:
    """The workload. `narrative`: the length of each `text.div`; None: what brings 13 managers with 10 circles to 577 KB.

    More managers than regions share these in turn; all have other circles and other people.
    """
    if narrative is None:
        bare = sum(len(body) for _, body in bundles(narrative=0))
        narrative = (TARGET - bare) // (MANAGERS * CIRCLES * 4)
    rng = random.Random(20_01)
    answers = []
    for number, region in enumerate(islice(cycle(sorted(REGIONS)), managers)):
        slug = f"reg{number:02}"
        origin = Origin(slug, f"https://cds.{slug}.exemple.fr/fhir", PUBLIC, region, REGIONS[region])
        answers.append((origin, _bundle(number, origin.base_url, rng, narrative, circles)))
    return answers


def _bundle(number: int, base: str, rng: random.Random, narrative: int, circles: int) -> bytes:
    entries: list[dict[str, Any]] = []
    for circle in range(circles):
        for resource in _circle(number * max(100, circles) + circle, rng, narrative):
            mode = "match" if resource["resourceType"] == "CareTeam" else "include"
            full_url = f"{base}/{resource['resourceType']}/{resource['id']}"
            entries.append({"fullUrl": full_url, "resource": resource, "search": {"mode": mode}})
    return orjson.dumps(
        {
            "resourceType": "Bundle",
            "id": f"{rng.getrandbits(64):016x}",
            "meta": {"lastUpdated": "2026-11-20T09:00:00.000+01:00"},
            "type": "searchset",
            "total": circles,
            "link": [{"relation": "self", "url": f"{base}/CareTeam?_count=10&_include=*"}],
            "entry": entries,
        }
    )


def _circle(number: int, rng: random.Random, narrative: int) -> list[dict[str, Any]]:
    """One circle as the guide's profiles have it: CareTeam, Patient, RelatedPerson, PractitionerRole."""
    family, given = rng.choice(FAMILIES), rng.choice(GIVEN)
    patient, contact, carer = (f"{kind}-{number}" for kind in ("pat", "aid", "pro"))
    structure = f"Organization/struct-{number % 7}"
    start = f"2024-0{rng.randint(1, 9)}-12"
    members = [
        ("RelatedPerson", contact, "ENT"),
        ("PractitionerRole", carer, "PRO"),
        ("Organization", structure, "ORG"),
    ]
    return [
        {
            **_head("CareTeam", f"cercle-{number}", "cds-ihe-careteam", rng, narrative),
            "identifier": [{"system": "urn:oid:1.2.250.1.999.1", "value": f"CDS-{number:06}"}],
            "status": "active",
            "name": f"Cercle de soins de {given} {family}",
            "subject": {"reference": f"Patient/{patient}"},
            "period": {"start": start},
            "participant": [
                {
                    "role": [_coded("TRE_R260-HL7RoleCode/FHIR/TRE-R260-HL7RoleCode", role)],
                    "member": {"reference": local if "/" in local else f"{kind}/{local}"},
                    "period": {"start": start},
                }
                for kind, local, role in members
            ],
            "managingOrganization": [{"reference": structure}],
        },
        {
            **_head("Patient", patient, "cds-fr-patient", rng, narrative),
            "extension": [
                {
                    "extension": [
                        {
                            "url": "identityStatus",
                            "valueCoding": {"system": FR + "fr-core-cs-v2-0445", "code": "VALI"},
                        }
                    ],
                    "url": "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-identity-reliability",
                }
            ],
            "identifier": [
                {
                    "use": "official",
                    "type": {"coding": [{"system": FR + "fr-core-cs-v2-0203", "code": "INS-NIR-TEST"}]},
                    "system": "urn:oid:1.2.250.1.213.1.4.10",
                    "value": f"2950399{number:06}",
                }
            ],
            "name": [{"use": "official", "family": family, "given": [given]}],
            "gender": rng.choice(("male", "female")),
            "birthDate": f"19{rng.randint(20, 99)}-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}",
            "address": [
                {"use": "home", "line": ["12 rue de la Liberté"], "city": "Guéméné", "postalCode": "56160"}
            ],
        },
        {
            **_head("RelatedPerson", contact, "cds-fr-related-person", rng, narrative),
            "identifier": [{"system": "urn:oid:1.2.250.1.999.2", "value": str(number)}],
            "patient": {"reference": f"Patient/{patient}"},
            "relationship": [
                _coded("TRE_R260-HL7RoleCode/FHIR/TRE-R260-HL7RoleCode", "CAREGIVER"),
                _coded("TRE_R216-HL7RoleCode/FHIR/TRE-R216-HL7RoleCode", "DAU"),
            ],
            "name": [{"use": "usual", "family": family, "given": [rng.choice(GIVEN)]}],
            "telecom": [
                {"system": "phone", "value": f"06{number:08}", "use": "mobile", "rank": 1},
            ],
        },
        {
            **_head("PractitionerRole", carer, "as-practitionerrole", rng, narrative),
            "identifier": [
                {"use": "official", "system": "https://rpps.esante.gouv.fr", "value": f"{10**10 + number}"}
            ],
            "active": True,
            "practitioner": {"reference": f"Practitioner/rpps-{number}"},
            "organization": {"reference": structure},
            "code": [_coded("TRE_G15-ProfessionSante/FHIR/TRE-G15-ProfessionSante", "60")],
            "telecom": [{"system": "phone", "value": f"02{number:08}", "use": "work"}],
        },
    ]


def _coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": MOS + system, "code": code}]}


def _head(kind: str, local_id: str, profile: str, rng: random.Random, narrative: int) -> dict[str, Any]:
    day = f"2026-{rng.randint(1, 11):02}-{rng.randint(1, 28):02}"
    sentence = f'<p class="res-header-id"><b>Narratif généré : {kind} {local_id}</b></p> '
    text = (sentence * (narrative // len(sentence) + 1))[:narrative]
    return {
        "resourceType": kind,
        "id": local_id,
        "meta": {
            "versionId": str(rng.randint(1, 9)),
            "lastUpdated": f"{day}T{rng.randint(0, 23):02}:07:31.{rng.randint(0, 999):03}+01:00",
            "profile": [PROFILES + profile],
        },
        "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{text}</div>'},
    }


def merge(answers: list[Answer]) -> bytes:
    """What the broker does with the answers of one search, entries merged by a plain sort."""
    aliases: dict[str, str] = {}
    matches: list[Entry] = []
    others: list[Entry] = []
    for origin, body in answers:
        for entry in read_searchset(body, origin, "CareTeam", aliases).entries:
            (matches if entry.mode == "match" else others).append(entry)
    matches.sort(key=attrgetter("public_id"))
    matches.sort(key=lambda entry: entry.last_updated or "", reverse=True)
    return write_searchset(PUBLIC, [*matches, *others], links=[("self", PUBLIC + "/CareTeam")])


def baseline(answers: list[Answer]) -> list[bytes]:
    return [orjson.dumps(orjson.loads(body)) for _, body in answers]


def run(rounds: int = 200, *, narrative: int | None = None) -> dict[str, float]:
    """CPU times in milliseconds for `make bench`: neither side waits for anything but the processor.

    `ratio_median` is the median of the rounds' own ratios: what is compared ran within the same few milliseconds, so
    that a busy machine slows both sides of it. `ratio_low`, `ratio_high`: between what that median lies. `ratio_min`
    compares the best round of either side. `trees_ratio`: of what one would write first, over the same baseline, in fewer
    rounds of its own.
    """
    answers = bundles(narrative=narrative)
    if merge(answers).count(b'"fullUrl"') != MANAGERS * CIRCLES * 4:
        raise AssertionError("not everything was merged")
    if orjson.loads(merge(answers))["entry"] != merge_on_trees(answers):
        raise AssertionError("merged otherwise than on trees")
    ours: list[float] = []
    theirs: list[float] = []
    sides = [(theirs, baseline), (ours, merge)]
    for _ in range(rounds):
        for times, work in sides:
            times.append(_milliseconds(partial(work, answers)))
        sides.reverse()
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    low, high = spread.of_median(ratios)
    return {
        "bytes": sum(len(body) for _, body in answers),
        "orjson_min_ms": min(theirs),
        "orjson_median_ms": statistics.median(theirs),
        "merge_min_ms": min(ours),
        "merge_median_ms": statistics.median(ours),
        "ratio_min": min(ours) / min(theirs),
        "ratio_median": statistics.median(ratios),
        "ratio_low": low,
        "ratio_high": high,
        "trees_ratio": statistics.median(_over_trees(answers) for _ in range(max(3, rounds // 20))),
    }


def _over_trees(answers: list[Answer]) -> float:
    base = _milliseconds(partial(baseline, answers))
    return _milliseconds(lambda: orjson.dumps(merge_on_trees(answers))) / base


def _milliseconds(function: Callable[[], object]) -> float:
    start = process_time()
    function()
    return (process_time() - start) * 1e3


def _profile() -> None:
    import cProfile
    import pstats

    answers = bundles()
    with cProfile.Profile() as profile:
        for _ in range(50):
            merge(answers)
    pstats.Stats(profile).sort_stats("tottime").print_stats(14)


def main() -> None:
    plain, narrated = run(), run(narrative=1000)
    print(f"{'':18} {'as specified':>14} {'1 KB narratives':>16}")
    for name, value in plain.items():
        print(f"{name:18} {value:14,.2f} {narrated[name]:16,.2f}")
    if "--profile" in sys.argv:
        _profile()


if __name__ == "__main__":
    main()
