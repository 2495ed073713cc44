"""The checks of flux 2a → 3a: what is found, in which order, on which page, with whom."""

from __future__ import annotations

from broker.commands.demo_cast import REPLICATED, TWICE
from broker.commands.demo_held import (
    Resource,
    begins,
    circles,
    get,
    ins_of_subject,
    members,
    newest_first,
    references,
    subject,
    tokens,
    where,
)
from broker.commands.demo_probe import Probe, entries, expect, expect_same, ids, link, reasons

_PAGE = 7


async def everything_paged(probe: Probe) -> str:
    expected = newest_first(circles(probe.held))
    pages = await probe.pages("/fhir/CareTeam", ("_count", str(_PAGE)))
    seen = [one for page in pages for one in ids(page)]
    expect(all(len(ids(page)) <= _PAGE for page in pages), f"a page of more than {_PAGE}")
    expect_same(seen, expected, "circles, newest first")
    expect(all(not reasons(page) for page in pages), f"unexpected remarks {reasons(pages[0])}")
    return f"{len(seen)} circles on {len(pages)} pages, each once, newest first"


async def by_get_and_post(probe: Probe) -> str:
    expected = where(circles(probe.held), lambda _, circle: circle["status"] == "inactive")
    got = await probe.send("GET", "/fhir/CareTeam", query=[("status", "inactive"), ("_count", "200")])
    expect_same(set(ids(got.json)), expected, "GET")
    posted = await probe.search("CareTeam", ("status", "inactive"), ("_count", "200"))
    expect_same(ids(posted), ids(got.json), "POST against GET")
    return f"{len(expected)} inactive circles, the same by GET and by POST"


async def person(probe: Probe) -> str:
    """By INS, one person of each region."""
    found = circles(probe.held)
    for slug, held in probe.held.items():
        ins = ins_of_subject(held, "cercle-4")
        expected = where(found, lambda at, circle: ins in tokens(subject(probe.held[at], circle)))  # noqa: B023  # used at once
        bundle = await probe.search("CareTeam", ("patient.identifier", ins))
        expect_same(set(ids(bundle)), expected, f"person of {slug}")
        expect(f"{slug}.cercle-4" in expected, "the expectation itself is empty")
    return f"one person of each of {len(probe.held)} regions, found by INS"


async def chains(probe: Probe) -> str:
    """The guide's chains; values are those of a circle of the region that cannot chain, where it plays."""
    slug = "occ" if "occ" in probe.held else probe.home
    held, circle = probe.held[slug], probe.held[slug]["CareTeam"]["cercle-5"]
    family = subject(held, circle)["name"][0]["family"]
    contact = members(held, circle, "RelatedPerson")[0]["name"][0]["family"]
    role = members(held, circle, "PractitionerRole")[0]
    rpps = min(tokens(get(held, role["practitioner"]["reference"])))
    structure = min(tokens(members(held, circle, "Organization")[0]))

    def of_family(at: str, one: Resource) -> bool:
        return begins(subject(probe.held[at], one)["name"][0]["family"], family)

    def of_contact(at: str, one: Resource) -> bool:
        names = [person["name"][0] for person in members(probe.held[at], one, "RelatedPerson")]
        return any(contact == name["family"] or contact in name["given"] for name in names)

    def of_professional(at: str, one: Resource) -> bool:
        roles = members(probe.held[at], one, "PractitionerRole")
        return any(rpps in tokens(get(probe.held[at], each["practitioner"]["reference"])) for each in roles)

    def of_structure(at: str, one: Resource) -> bool:
        return any(structure in tokens(each) for each in members(probe.held[at], one, "Organization"))

    asked = (
        ("patient.family", family, of_family),
        ("participant:RelatedPerson.name:exact", contact, of_contact),
        ("participant:PractitionerRole.practitioner:Practitioner.identifier", rpps, of_professional),
        ("participant:Organization.identifier", structure, of_structure),
    )
    counts = []
    for name, value, test in asked:
        expected = where(circles(probe.held), test)
        bundle = await probe.search("CareTeam", (name, value), ("_count", "200"))
        expect_same(set(ids(bundle)), expected, name)
        expect(f"{slug}.cercle-5" in expected, "the expectation itself is empty")
        counts.append(str(len(expected)))
    return f"{len(asked)} chains, {', '.join(counts)} circles"


async def dates(probe: Probe) -> str:
    found = circles(probe.held)
    starts = sorted(circle["period"]["start"] for circle in found.values())
    middle = starts[len(starts) // 2]
    expected = where(found, lambda _, circle: circle["period"]["start"] >= middle)
    bundle = await probe.search("CareTeam", ("start", f"ge{middle}"), ("_count", "200"))
    expect_same(set(ids(bundle)), expected, f"start=ge{middle}")
    expect(0 < len(expected) < len(found), "the expectation itself tells nothing apart")
    return f"{len(expected)} of {len(found)} circles begin from {middle}"


async def includes(probe: Probe) -> str:
    """Everybody of a page's circles is on that page, once, and nobody else."""
    pages = await probe.pages(
        "/fhir/CareTeam",
        ("_count", "10"),
        ("_include", "CareTeam:subject"),
        ("_include", "CareTeam:participant"),
        ("_include:iterate", "PractitionerRole:practitioner"),
    )
    brought = 0
    for number, page in enumerate(pages, 1):
        expected: set[str] = set()
        for circle in entries(page, "match"):
            slug, _, identity = circle["id"].partition(".")
            expected |= _actors(probe, slug, identity)
        seen = [f"{one['resourceType']}/{one['id']}" for one in entries(page, "include")]
        expect_same(len(seen), len(set(seen)), f"page {number}: repeated includes")
        expect_same(set(seen), expected, f"page {number}: includes")
        brought += len(seen)
    return f"{brought} actors on {len(pages)} pages, each on the page of its circle"


def _actors(probe: Probe, slug: str, identity: str) -> set[str]:
    """References, in public terms, from a circle to its person, its members and their practitioners."""
    held, circle = probe.held[slug], probe.held[slug]["CareTeam"][identity]
    own = {circle["subject"]["reference"], *references(circle.get("participant", []))}
    own |= {get(held, one)["practitioner"]["reference"] for one in own if one.startswith("PractitionerRole/")}
    return {f"{kind}/{slug}.{actor}" for kind, _, actor in (one.partition("/") for one in own)}


async def reverse_include(probe: Probe) -> str:
    slug = list(probe.held)[-1]
    ins = ins_of_subject(probe.held[slug], "cercle-4")
    bundle = await probe.search("Patient", ("identifier", ins), ("_revinclude", "CareTeam:subject"))
    found = {one["id"] for one in entries(bundle, "include") if one["resourceType"] == "CareTeam"}
    expected = where(circles(probe.held), lambda at, circle: ins in tokens(subject(probe.held[at], circle)))
    expect_same(found, expected, "circles that refer to the person")
    return f"{len(found)} circle from its person"


async def ordered(probe: Probe) -> str:
    found = circles(probe.held)
    expected = sorted(found, key=lambda one: (found[one]["period"]["start"], one))
    pages = await probe.pages("/fhir/CareTeam", ("_sort", "start"), ("_count", "9"))
    expect_same([one for page in pages for one in ids(page)], expected, "_sort=start")
    return f"{len(expected)} circles by period.start over every region"


async def totals(probe: Probe) -> str:
    expected = len(circles(probe.held))
    accurate = await probe.search("CareTeam", ("_total", "accurate"), ("_count", "3"))
    expect_same(accurate.get("total"), expected, "_total=accurate")
    for pair in (("_summary", "count"), ("_count", "0")):
        bundle = await probe.search("CareTeam", pair)
        expect_same((bundle.get("total"), ids(bundle)), (expected, []), "=".join(pair))
    return f"{expected}, replicas not counted"


async def elements(probe: Probe) -> str:
    bundle = await probe.search("CareTeam", ("_elements", "status"), ("_count", "200"))
    expect_same(ids(bundle), newest_first(circles(probe.held)), "circles")
    for circle in entries(bundle, "match"):
        expect("participant" not in circle and "status" in circle, "elements that were not asked for")
        tags = [tag.get("code") for tag in circle["meta"].get("tag", ())]
        expect("SUBSETTED" in tags, "no SUBSETTED tag")
    return "what was asked for, tagged SUBSETTED"


async def actors(probe: Probe) -> str:
    """A search on another type, and one that a public id sends to its manager alone."""
    asked = "Organization?_id={}.structure-1"
    for slug in probe.held:
        bundle = await probe.search("Organization", ("_id", f"{slug}.structure-1"))
        expect_same(ids(bundle), [f"{slug}.structure-1"], slug)
        plan = await probe.send("POST", "/registry/plan", body={"search": asked.format(slug)})
        expect_same(plan.status, 200, "plan: status")
        expect_same([one["id"] for one in plan.json["managers"] if one["asked"]], [slug], "managers asked")
    return "Organization by public id: its manager alone is asked"


async def copies(probe: Probe) -> str:
    """At rest the home's circle is shown, and its replica is not."""
    ins = ins_of_subject(probe.held[probe.home], REPLICATED)
    bundle = await probe.search("CareTeam", ("patient.identifier", ins))
    expect_same(ids(bundle), [f"{probe.home}.{REPLICATED}"], "the circle, once")
    return "one circle held twice is shown once, its home's"


async def conflict(probe: Probe) -> str:
    ins = ins_of_subject(probe.held[probe.home], TWICE)
    bundle = await probe.search("CareTeam", ("patient.identifier", ins))
    second = probe.demo.managers[1].slug
    expect_same(set(ids(bundle)), {f"{probe.home}.{TWICE}", f"{second}.{probe.home}-{TWICE}"}, "both circles")
    expect(("merge.conflict", "") in reasons(bundle), "the conflict is not named")
    return "two circles of one person: both shown, the conflict named"


async def own_links(probe: Probe) -> str:
    """A page link that was tampered with is refused; the genuine one carries nothing about a person."""
    ins = ins_of_subject(probe.held[probe.home], TWICE)
    bundle = await probe.search("CareTeam", ("patient.identifier", ins), ("_count", "1"))
    following = link(bundle, "next") or ""
    expect(bool(following), "no next link")
    expect(ins.rpartition("|")[2] not in following, "the INS is in the link")
    forged = following[:-1] + ("A" if following[-1] != "A" else "B")
    answer = await probe.send("GET", forged)
    expect_same(answer.status, 400, "a forged link: status")
    return "no INS in a page link; a forged one is refused"
