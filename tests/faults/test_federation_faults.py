"""Every manager can fail: each fault seen through the whole broker, beside two regions that are well.

What must hold for each: the answer comes in time, the others' circles are all there and in order, and the failing region
is named once, with its code and the reason, in French and English, and with nothing of what it sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from broker.core.messages import MESSAGES
from registry.model import Skills, Status
from tests.support.federation import Answered, federation, ids, link, outcome_codes
from tests.support.fhir_builders import bundle, care_team
from tests.support.regions import (
    CHECKED,
    FAULTY,
    REGION,
    Regions,
    assert_nothing_leaks,
    assert_told,
    ins,
    issues,
    matches,
    regions,
)
from tests.support.scripted_manager import Faults, Received, Reply, reply
from tests.support.valkey import Valkey
from tests.support.waiting import until

TIMEOUT = 0.75
"""Seconds that a manager is given: a fault that is no delay is seen well before it, also on a busy machine."""

MAX_BYTES = 200_000
LATE = 2.0
"""Seconds that an answer may take beside a hung manager on a busy machine: far from the deadline that is not set."""

Fault = tuple[str, Faults | None, str]  # None: it refuses connections

CONNECTION: list[Fault] = [
    ("refused", None, "unreachable"),
    ("reset", Faults(reset=True), "unreachable"),
    ("hang", Faults(hang=True), "timeout"),
    ("late", Faults(delay=30.0), "timeout"),
    ("hang in body", Faults(hang_in_body=True), "timeout"),
    ("slow drip", Faults(drip=0.05), "timeout"),
    ("cut in body", Faults(cut=True), "unreachable"),
    ("cut in chunks", Faults(cut=True, chunked=True), "unreachable"),
    ("declares too much", Faults(content_length=10**12), "too-large"),
    ("no HTTP", Faults(garbage=True), "invalid"),
    ("gzip bomb", Faults(gzip_bomb=16 << 20), "too-large"),
    ("bad gzip", Faults(bad_gzip=True), "invalid"),
    ("short gzip", Faults(short_gzip=True), "invalid"),
    ("a coding nobody asked for", Faults(coding="br"), "invalid"),
    ("redirect", Faults(redirect="http://127.0.0.1:1/evil"), "redirect"),
    ("redirect to itself", Faults(redirect="/fhir/CareTeam"), "redirect"),
]
STATUSES: list[Fault] = [
    (str(status), Faults(status=status), kind)
    for status, kind in {
        400: "rejected",
        401: "refused",
        403: "refused",
        404: "rejected",
        408: "timeout",
        410: "rejected",
        422: "rejected",
        429: "busy",
        500: "error",
        501: "rejected",
        502: "error",
        503: "busy",
        504: "timeout",
        508: "loop",
    }.items()
]
BODIES: list[Fault] = [
    ("HTML", Faults(html=True), "invalid"),
    ("declared as HTML", Faults(content_type="text/html"), "invalid"),
    ("declared as XML", Faults(content_type="application/fhir+xml"), "invalid"),
    ("another type", Faults(wrong_type=True), "invalid"),
    ("truncated", Faults(truncated=True), "invalid"),
    ("deep", Faults(deep=50_000), "invalid"),
    ("huge", Faults(huge=MAX_BYTES), "too-large"),
    ("huge in chunks", Faults(huge=MAX_BYTES, chunked=True), "too-large"),
    ("bad UTF-8", Faults(bad_utf8=True), "invalid"),
]
ALL = CONNECTION + STATUSES + BODIES


def table(faults: list[Fault]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("faults", "kind"), [one[1:] for one in faults], ids=[one[0] for one in faults]
    )


async def break_down(there: Regions, faults: Faults | None) -> None:
    if faults is None:
        await there.faulty.refuse()
    else:
        there.faulty.faults = replace(faults)


async def heal(there: Regions) -> None:
    there.faulty.faults = Faults()
    await there.faulty.accept()


# --- a search


@table(ALL)
async def test_each_fault_harms_its_region_alone_and_is_told(
    valkey: Valkey, faults: Faults | None, kind: str
) -> None:
    async with regions(valkey, faulty={"timeout": TIMEOUT}, max_answer_bytes=MAX_BYTES) as there:
        await break_down(there, faults)
        target = f"CareTeam?patient.identifier={there.everybody}&_count=50"
        answered, seconds = await there.timed(target, Accept_Language="en")
        assert answered.status == 200
        assert seconds < LATE
        assert matches(answered) == there.without()
        assert "total" not in answered.json, "nobody knows it"
        (issue,) = issues(answered.json)
        assert_told(issue, f"manager.{kind}", language="en")
        assert issue["severity"] == "warning"
        assert issue["code"] == MESSAGES[f"manager.{kind}"].issue
        assert_nothing_leaks(answered, *there.managers.values())
        assert len(there.faulty.requests) <= 2, "no retry storm"
        await heal(there)
        healed = await there.broker.bundle(target)
        assert ids(healed) == there.order, "one fault alone does not shut a region"


async def test_the_deadline_of_the_whole_holds_where_a_manager_has_none_of_its_own(valkey: Valkey) -> None:
    async with regions(valkey, search_deadline=1.0) as there:
        there.faulty.faults = Faults(hang=True)
        answered, seconds = await there.timed("CareTeam?_count=50")
        assert seconds < 1.0, "the answer leaves by the deadline, not after it"
        assert matches(answered) == there.without()
        assert outcome_codes(answered.json) == [("manager.timeout", FAULTY)]


@pytest.mark.parametrize(
    "faults",
    [
        Faults(bom=True),
        Faults(content_type="application/json"),
        Faults(content_type="text/json;charset=utf-8"),
        Faults(duplicate=True),
        Faults(unsorted=True),
        Faults(total=0),
        Faults(total=-1),
        Faults(omit_total=True),
        Faults(omit_mode=True, omit_full_url=True, omit_self=True, id_last=True),
        Faults(chunked=True),
        Faults(trailing=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    ],
    ids=lambda faults: next(name for name, value in vars(faults).items() if value != vars(Faults())[name]),
)
async def test_what_can_be_mended_is_mended_and_the_total_is_counted_not_believed(
    valkey: Valkey, faults: Faults
) -> None:
    async with regions(valkey, page_size=2) as there:
        there.faulty.store.resources.reverse()
        there.faulty.faults = faults
        for sort in ("", "&_sort=status,-_lastUpdated"):
            found = await there.broker.bundle(f"CareTeam?_count=50{sort}")
            assert ids(found) == there.order
            assert outcome_codes(found) == []
            assert found["total"] == len(there.order)


async def test_ids_outside_the_rule_are_left_out_and_named(valkey: Valkey) -> None:
    async with regions(valkey) as there:
        there.faulty.faults = Faults(bad_ids=True)
        answered = await there.broker.get("CareTeam?_count=50")
        assert matches(answered) == there.without()
        (issue,) = issues(answered.json)
        assert_told(issue, "manager.entry-id")
        assert "total" not in answered.json
        chained = await there.broker.get(f"CareTeam?patient.identifier={there.everybody}&_count=50")
        assert matches(chained) == there.without()
        assert outcome_codes(chained.json) == [("manager.invalid", FAULTY)], (
            "its actors could not be followed"
        )
        assert_nothing_leaks(chained, there.faulty)
        read = await there.broker.get("CareTeam/idf.c2")
        assert read.status == 200


async def test_a_total_that_is_more_than_came_is_named(valkey: Valkey) -> None:
    async with regions(valkey) as there:
        there.faulty.faults = Faults(total=999)
        found = await there.broker.bundle("CareTeam?_count=50")
        assert ids(found) == there.order
        assert outcome_codes(found) == [("manager.incomplete", FAULTY)]
        assert "total" not in found


async def test_the_total_of_one_manager_alone_is_not_given_where_it_cannot_be_true(valkey: Valkey) -> None:
    async with regions(valkey, slugs=[FAULTY], size=12, page_size=3) as there:
        assert (await there.broker.bundle("CareTeam?_count=4"))["total"] == 12
        there.faulty.faults = Faults(total=5)
        assert "total" not in await there.broker.bundle("CareTeam?_count=5"), "six were seen"
        assert (await there.broker.bundle("CareTeam?_count=50"))["total"] == 12, "counted here"
        there.faulty.faults = Faults(bad_ids=True)
        assert "total" not in await there.broker.bundle("CareTeam?_count=50"), "some cannot be shown"


async def test_a_manager_whose_totals_were_seen_to_be_wrong_is_counted_not_asked(valkey: Valkey) -> None:
    lying = Skills(checked_at=CHECKED.checked_at, post_search=True, sort=True, total=False)
    async with regions(valkey, slugs=[FAULTY], size=9, page_size=3, skills=lying) as there:
        there.faulty.faults = Faults(total=4)
        for target in ("CareTeam?_summary=count", "CareTeam?_count=0", "CareTeam?_count=2&_total=accurate"):
            assert (await there.broker.bundle(target))["total"] == 9, target
        assert "total" not in await there.broker.bundle("CareTeam?_count=2")


# --- links


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        (Faults(repeat_next=True), "invalid"),
        (Faults(foreign_next="http://127.0.0.1:1/fhir/CareTeam?_page=2"), "redirect"),
        (Faults(foreign_next="//elsewhere.example/fhir"), "redirect"),
        (Faults(foreign_next="http://[::1"), "redirect"),
        (Faults(foreign_next="javascript:alert(1)"), "redirect"),
        (Faults(foreign_next="../../admin"), "redirect"),
        (Faults(foreign_next="CareTeam/\u0000"), "redirect"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.foreign_next or "repeats",
)
async def test_next_links_that_lead_nowhere_or_away(valkey: Valkey, faults: Faults, kind: str) -> None:
    """What came before the link is kept, the region is named on the page that needs it and on every later one."""
    async with regions(valkey, page_size=3) as there:
        there.faulty.faults = faults
        own = [one for one in there.order if one.startswith(FAULTY)]
        for count in (2, 50):
            there.faulty.requests.clear()
            pages = await there.broker.pages(f"CareTeam?_count={count}")
            given = [one for page in pages for one in ids(page)]
            assert len(given) == len(set(given)), "no circle twice"
            assert [one for one in given if not one.startswith(FAULTY)] == there.without()
            assert [one for one in given if one.startswith(FAULTY)] == own[:3]
            told = [outcome_codes(page) for page in pages]
            first = next(number for number, codes in enumerate(told) if codes)
            assert told[first:] == [[(f"manager.{kind}", FAULTY)]] * (len(pages) - first)
            assert len(there.faulty.requests) <= 3 * len(pages)
            assert all(request.path.startswith("CareTeam") for request in there.faulty.requests)


async def test_a_next_link_that_goes_round_in_a_wide_circle_ends(valkey: Valkey) -> None:
    """Three pages in turn for ever, each time under a new address: wider than one page of the whole shows."""
    circles = [care_team(f"z{n}", last_updated=f"2026-02-01T00:{59 - n:02d}:00Z") for n in range(6)]
    served = 0

    async with regions(valkey) as there:

        def turning(received: Received) -> Reply:
            nonlocal served
            place = int(dict(received.params).get("at", "0"))
            served += 1
            base = there.faulty.base_url
            part = circles[place % 3 * 2 :][:2]
            return reply(bundle(part, base=base, links={"next": f"{base}/CareTeam?at={place + 1}"}))

        there.faulty.replies |= {"CareTeam/_search": turning, "CareTeam": turning}
        pages = await there.broker.pages("CareTeam?_count=2")
        given = [one for page in pages for one in ids(page)]
        assert len(given) == len(set(given)), "no circle twice"
        assert given[:6] == [f"{FAULTY}.z{n}" for n in range(6)]
        assert given[6:] == there.without()
        assert ("manager.invalid", FAULTY) in outcome_codes(pages[-1])
        assert served < 40


async def test_empty_pages_without_end_are_given_up(valkey: Valkey) -> None:
    async with regions(valkey) as there:
        base = there.faulty.base_url

        def empty(received: Received) -> Reply:
            place = int(dict(received.params).get("at", "0")) + 1
            return reply(bundle(base=base, links={"next": f"{base}/CareTeam?at={place}"}))

        there.faulty.replies |= {"CareTeam/_search": empty, "CareTeam": empty}
        answered, seconds = await there.timed("CareTeam?_count=50")
        assert seconds < LATE
        assert matches(answered) == there.without()
        assert outcome_codes(answered.json) == [("manager.invalid", FAULTY)]
        assert len(there.faulty.requests) < 20


@table([one for one in ALL if one[0] in ("hang", "cut in body", "500", "401", "HTML", "truncated", "huge")])
async def test_a_fault_on_a_later_page_is_named_there_and_ever_after(
    valkey: Valkey, faults: Faults, kind: str
) -> None:
    async with regions(valkey, page_size=2, faulty={"timeout": TIMEOUT}, max_answer_bytes=MAX_BYTES) as there:
        there.faulty.faults = replace(faults, only=r"^CareTeam$")  # its page links; searches are POST _search
        pages = await there.broker.pages("CareTeam?_count=3")
        given = [one for page in pages for one in ids(page)]
        assert len(given) == len(set(given)), "no circle twice"
        assert [one for one in given if not one.startswith(FAULTY)] == there.without()
        own = [one for one in there.order if one.startswith(FAULTY)]
        assert [one for one in given if one.startswith(FAULTY)] == own[:2], "what it gave before is kept"
        told = [outcome_codes(page) for page in pages]
        first = next(number for number, codes in enumerate(told) if codes)
        assert 0 < first < len(pages) - 1
        assert told[first:] == [[(f"manager.{kind}", FAULTY)]] * (len(pages) - first)
        assert all("total" not in page for page in pages[first:])


# --- what one manager holds must not spoil the answer of all


SPOILT: dict[str, bytes] = {
    "half a character": b'"name":"\\ud800"',
    "a control character": b'"name":"\x01"',
    "no escape": b'"name":"\\q"',
    "an infinite number": b'"x":1e999',
    "1000 digits": b'"x":' + b"9" * 1000,
    "deep": b'"x":' + b"[" * 700 + b"]" * 700,
    "its id twice": b'"id":"c1"',
    "its type twice": b'"resourceType":"Patient"',
    "meta a text": b'"meta":"text"',
    "meta null": b'"meta":null',
    "an instant that is a number": b'"meta":{"lastUpdated":7}',
    "no instant": b'"meta":{"lastUpdated":"yesterday"}',
    "subject a text": b'"subject":"Patient/p1"',
    "reference a number": b'"subject":{"reference":7}',
    "no address": b'"subject":{"reference":"http://[::1"}',
    "identifier a text": b'"identifier":"none"',
    "status a list": b'"status":["active"]',
    "period a number": b'"period":7',
}


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
async def test_a_spoilt_entry_spoils_its_own_region_at_most(valkey: Valkey, spoilt: bytes) -> None:
    good = b'{"resourceType":"CareTeam","id":"g1","meta":{"lastUpdated":"2020-01-01T00:00:00Z"}}'
    bad = b'{"resourceType":"CareTeam","id":"b1",' + spoilt + b"}"
    body = b'{"resourceType":"Bundle","type":"searchset","entry":[{"resource":%b},{"resource":%b}]}'
    async with regions(valkey, size=6, skills=replace_skills(include=False)) as there:
        there.faulty.replies["CareTeam/_search"] = Reply(200, body % (good, bad))
        for more in ("", "_sort=status", "_sort=-start", "_include=CareTeam:subject", "_elements=name"):
            found = await there.broker.bundle(f"CareTeam?_count=50&{more}")
            others = [one for one in ids(found) if not one.startswith(FAULTY)]
            assert sorted(others) == sorted(there.without()), more
            codes = outcome_codes(found)
            assert {slug for _, slug in codes} <= {FAULTY}
            shown = {one for one in ids(found) if one.startswith(FAULTY)}
            assert codes or shown == {f"{FAULTY}.g1", f"{FAULTY}.b1"}, f"whole, or named: {more}"
        xml = await there.broker.get("CareTeam?_count=50&_format=xml")
        if spoilt == SPOILT["deep"]:
            assert xml.status == 406, "XML is written to a bounded depth; JSON has it all"
            assert b"request.no-xml" in xml.body
        else:
            assert xml.status == 200
            assert all(f'<id value="{one}"' in xml.body.decode() for one in there.without())


def replace_skills(**changes: Any) -> Skills:
    known = {name: getattr(CHECKED, name) for name in CHECKED.__struct_fields__}
    return Skills(**(known | changes))


async def test_what_a_manager_says_beside_its_results_is_passed_on_without_addresses_and_numbers(
    valkey: Valkey,
) -> None:
    async with regions(valkey) as there:
        outcome = {
            "resourceType": "OperationOutcome",
            "issue": [
                {
                    "severity": "error",
                    "code": "processing",
                    "diagnostics": f"index lags behind for {ins(7)} at {there.faulty.base_url}/Patient/7",
                }
            ],
        }
        base = there.faulty.base_url
        found = bundle([care_team("c2", last_updated="2026-01-01T00:02:00Z")], base=base)
        found["entry"].append({"resource": outcome, "search": {"mode": "outcome"}})
        there.faulty.replies["CareTeam/_search"] = reply(found)
        answered = await there.broker.get("CareTeam?_count=50")
        (issue,) = issues(answered.json)
        assert_told(issue, "manager.reported")
        assert issue["severity"] == "warning"
        assert issue["diagnostics"].startswith("index lags behind for")
        assert_nothing_leaks(answered, there.faulty)


async def test_a_filter_that_was_dropped_in_silence_is_applied_here(valkey: Valkey) -> None:
    """The `self` link shows what a manager used (FHIR R4, search): a filter that is not in it was not applied."""
    async with regions(valkey) as there:
        base = there.faulty.base_url
        held = [
            care_team("a", status="active", last_updated="2026-01-01T01:00:00Z"),
            care_team("b", status="inactive", last_updated="2026-01-01T02:00:00Z"),
        ]
        links = {"self": f"{base}/CareTeam?_count=51&_sort=-_lastUpdated"}
        there.faulty.replies["CareTeam/_search"] = reply(bundle(held, base=base, total=2, links=links))
        found = await there.broker.bundle("CareTeam?status=inactive&_count=50")
        assert ids(found) == [f"{FAULTY}.b"]
        assert outcome_codes(found) == []
        assert found["total"] == 1
        chained = await there.broker.bundle(f"CareTeam?patient.identifier={there.everybody}&_count=50")
        assert ids(chained) == there.without(), "theirs is another subject"
        broken = links | {"self": "http://[::1?x=1"}
        there.faulty.replies["CareTeam/_search"] = reply(bundle(held, base=base, links=broken))
        assert ids(await there.broker.bundle("CareTeam?status=inactive&_count=50")) == [f"{FAULTY}.b"]


# --- what the client prefers


async def test_a_client_can_refuse_what_is_partial(valkey: Valkey) -> None:
    async with regions(valkey, faulty={"timeout": TIMEOUT}) as there:
        deny = {"Prefer": "partial=deny"}
        whole = await there.broker.get("CareTeam?_count=50", **deny)
        assert whole.status == 200
        there.faulty.faults = Faults(status=500, times=2)
        for target in ("CareTeam?_count=50", "CareTeam?_summary=count"):
            refused = await there.broker.get(target, **deny)
            assert refused.status == 503
            assert outcome_codes(refused.json) == [
                ("federation.partial-denied", None),
                ("manager.error", FAULTY),
            ]
            assert refused.headers["Retry-After"]
            assert_told(issues(refused.json)[1], "manager.error")
            assert_nothing_leaks(refused, there.faulty)


async def test_an_optional_manager_does_not_make_an_answer_partial(valkey: Valkey) -> None:
    async with regions(valkey, faulty={"optional": True}) as there:
        there.faulty.faults = Faults(status=500)
        for target in ("CareTeam?_count=50", "CareTeam?_summary=count"):
            answered = await there.broker.get(target, Prefer="partial=deny")
            assert answered.status == 200, target
            assert outcome_codes(answered.json)[0][1] == FAULTY, "but it is named all the same"


async def test_a_client_can_shorten_its_wait_and_shuts_nobody_by_it(valkey: Valkey) -> None:
    async with regions(valkey, search_deadline=30.0) as there:
        there.faulty.faults = Faults(hang=True)
        for _ in range(3):
            answered, seconds = await there.timed("CareTeam?_count=50", Prefer="wait=0.5")
            assert seconds < LATE
            assert matches(answered) == there.without()
            assert outcome_codes(answered.json) == [("manager.timeout", FAULTY)]
        there.faulty.faults = Faults()
        assert ids(await there.broker.bundle("CareTeam?_count=50")) == there.order
        impatient = await there.broker.get("CareTeam", Prefer="wait=0")
        assert impatient.status == 504


# --- nobody answers


@pytest.mark.parametrize(
    ("faults", "status", "kind"),
    [
        (Faults(hang=True), 504, "timeout"),
        (Faults(status=503), 503, "busy"),
        (Faults(status=500), 502, "error"),
        (Faults(reset=True), 502, "unreachable"),
        (Faults(html=True), 502, "invalid"),
        (Faults(status=403), 502, "refused"),
        (Faults(status=501), 502, "rejected"),
    ],
    ids=lambda value: str(value) if not isinstance(value, Faults) else "",
)
async def test_when_all_fail_the_status_says_how(
    valkey: Valkey, faults: Faults, status: int, kind: str
) -> None:
    async with regions(valkey, search_deadline=TIMEOUT) as there:
        for manager in there.managers.values():
            manager.faults = replace(faults)
        for target in ("CareTeam", "CareTeam?_summary=count"):
            answered = await there.broker.get(target)
            assert answered.status == status, target
            assert sorted(outcome_codes(answered.json)) == sorted(
                (f"manager.{kind}", slug) for slug in REGION
            )
            assert issues(answered.json)[0]["severity"] == "error"
            for issue in issues(answered.json):
                codings = {one["system"]: one["code"] for one in issue["details"]["coding"]}
                assert_told(issue, f"manager.{kind}", codings["urn:cds-broker:gestionnaire"])


async def test_different_failures_of_all_are_a_bad_gateway(valkey: Valkey) -> None:
    async with regions(valkey, search_deadline=TIMEOUT) as there:
        for manager, faults in zip(
            there.managers.values(), [Faults(hang=True), Faults(status=503), Faults(html=True)], strict=True
        ):
            manager.faults = faults
        answered = await there.broker.get("CareTeam")
        assert answered.status == 502
        assert sorted(code for code, _ in outcome_codes(answered.json)) == [
            "manager.busy",
            "manager.invalid",
            "manager.timeout",
        ]


async def test_no_manager_and_no_active_manager_are_not_an_empty_result(valkey: Valkey) -> None:
    async with federation(valkey) as broker:
        for target in ("CareTeam", "CareTeam?_summary=count", "CareTeam/_history"):
            answered = await broker.get(target)
            assert answered.status == 503, target
            assert outcome_codes(answered.json) == [("federation.no-manager", None)]
            assert_told(issues(answered.json)[0], "federation.no-manager", None)
    async with regions(valkey, slugs=["bre"]) as there:
        await there.broker.running.registry.set_status("bre", Status.SUSPENDED)
        await there.broker.running.managers.refresh()
        for target in ("CareTeam", "CareTeam?_summary=count", "CareTeam/_history"):
            answered = await there.broker.get(target)
            assert answered.status == 503, target
            assert ("federation.no-manager", None) in outcome_codes(answered.json)


async def test_when_none_can_hold_a_match_there_is_none(valkey: Valkey) -> None:
    async with regions(valkey) as there:
        for target in ("CareTeam?_id=nobody.c1", "CareTeam?_id=bre.c0&patient=occ.p1"):
            found = await there.broker.bundle(target)
            assert (ids(found), found["total"], outcome_codes(found)) == ([], 0, [])
        assert all(not manager.requests for manager in there.managers.values())


# --- clients that leave


@pytest.mark.parametrize(
    "target", ["CareTeam", "CareTeam?_summary=count", "CareTeam/_history", "CareTeam/idf.c2"]
)
async def test_a_client_that_leaves_takes_its_questions_with_it(valkey: Valkey, target: str) -> None:
    async with regions(valkey, search_deadline=60.0) as there:
        asked = [there.faulty] if "idf" in target else list(there.managers.values())
        for manager in asked:
            manager.faults = Faults(hang=True)
        address = urlsplit(there.broker.base_url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        with closing(writer):
            writer.write(f"GET /fhir/{target} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
            await until(lambda: all(manager.active == 1 for manager in asked))
        await until(lambda: all(manager.active == manager.connections == 0 for manager in asked))
        for manager in asked:
            manager.faults = Faults()
        assert ids(await there.broker.bundle("CareTeam?_count=50")) == there.order, (
            "and it is held against nobody"
        )


# --- reads


RESOURCE = care_team("c2", last_updated="2026-01-01T00:02:00Z")
READS = ("CareTeam/idf.c2", "CareTeam/idf.c2/_history/1", "CareTeam/idf.c2/_history")
STATUS = {"timeout": 504, "busy": 503}


def let_read(there: Regions) -> None:
    """Versions and history, which a scripted manager has not by itself."""
    there.faulty.replies["CareTeam/c2/_history/1"] = reply(RESOURCE)
    there.faulty.replies["CareTeam/c2/_history"] = reply(
        bundle([RESOURCE], base=there.faulty.base_url, type="history")
    )


@pytest.mark.parametrize("target", READS)
async def test_reads_say_who_failed_and_how(valkey: Valkey, target: str) -> None:
    async with regions(
        valkey, slugs=[FAULTY], faulty={"timeout": TIMEOUT}, max_answer_bytes=MAX_BYTES
    ) as there:
        let_read(there)
        for name, faults, kind in CONNECTION + STATUSES:
            if name in ("404", "410"):
                continue
            await break_down(there, faults)
            answered, seconds = await there.timed(target)
            assert seconds < LATE, name
            assert answered.status == STATUS.get(kind, 502), name
            (issue,) = issues(answered.json)
            assert_told(issue, f"manager.{kind}")
            assert issue["severity"] == "error"
            assert ("Retry-After" in answered.headers) is (answered.status == 503)
            assert_nothing_leaks(answered, there.faulty)
            await heal(there)
            assert (await there.broker.get(target)).status == 200, f"after {name}"


@table(BODIES)
async def test_reads_of_what_is_no_resource(valkey: Valkey, faults: Faults, kind: str) -> None:
    async with regions(valkey, slugs=[FAULTY], size=3, max_answer_bytes=MAX_BYTES) as there:
        there.faulty.faults = faults
        answered = await there.broker.get("CareTeam/idf.c2")
        assert answered.status == 502
        assert outcome_codes(answered.json) == [(f"manager.{kind}", FAULTY)]
        assert_nothing_leaks(answered, there.faulty)


@pytest.mark.parametrize(("status", "key"), [(404, "request.not-found"), (410, "request.deleted")])
async def test_unknown_and_deleted_are_relayed(valkey: Valkey, status: int, key: str) -> None:
    async with regions(valkey, slugs=[FAULTY]) as there:
        there.faulty.faults = Faults(status=status)
        for target in READS:
            answered = await there.broker.get(target)
            assert answered.status == status, target
            assert outcome_codes(answered.json) == [(key, None)]


async def test_a_read_that_answers_with_another_resource_is_not_believed(valkey: Valkey) -> None:
    async with regions(valkey, slugs=[FAULTY]) as there:
        there.faulty.replies["CareTeam/c2"] = reply(care_team("c3"))
        answered = await there.broker.get("CareTeam/idf.c2")
        assert answered.status == 502
        assert outcome_codes(answered.json) == [("manager.invalid", FAULTY)]


# --- histories


NO_HISTORY = {
    "HTML": Reply(200, b"<!doctype html><title>Maintenance</title>", {"Content-Type": "text/html"}),
    "another type": reply(care_team("c2")),
    "truncated": Reply(200, b'{"resourceType":"Bundle","entry":['),
    "deep": Reply(200, b'{"resourceType":"Bundle","entry":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "bad UTF-8": Reply(200, b'{"resourceType":"Bundle","x":"\xff"}'),
}


@asynccontextmanager
async def histories(valkey: Valkey) -> AsyncIterator[Regions]:
    """Three regions with a history of all their circles."""
    async with regions(valkey, size=6, faulty={"timeout": TIMEOUT}, max_answer_bytes=MAX_BYTES) as there:
        for manager in there.managers.values():
            held = [one for one in manager.store.resources if one["resourceType"] == "CareTeam"]
            held.sort(key=lambda one: one["meta"]["lastUpdated"], reverse=True)
            manager.replies["CareTeam/_history"] = reply(bundle(held, base=manager.base_url, type="history"))
        yield there


def changed(answered: Answered) -> list[str]:
    """Public ids in a history, in order."""
    return [entry["resource"]["id"] for entry in answered.json["entry"] if "resource" in entry]


async def test_each_fault_in_the_history_of_all(valkey: Valkey) -> None:
    """400, 404, 405 and 501 say that there is no such history: it is then made from the circles' own."""
    async with histories(valkey) as there:
        for name, faults, kind in CONNECTION + STATUSES:
            if name in ("400", "404", "501"):
                continue
            await break_down(there, faults)
            answered, seconds = await there.timed("CareTeam/_history?_count=50")
            assert answered.status == 200, name
            assert seconds < LATE, name
            assert changed(answered) == there.without(), name
            (issue,) = issues(answered.json)
            assert_told(issue, f"manager.{kind}")
            assert_nothing_leaks(answered, *there.managers.values())
            await heal(there)
            assert changed(await there.broker.get("CareTeam/_history?_count=50")) == there.order, name
        there.faulty.faults = Faults(status=500)
        assert (await there.broker.get("CareTeam/_history", Prefer="partial=deny")).status == 503


@pytest.mark.parametrize("body", NO_HISTORY.values(), ids=NO_HISTORY)
async def test_what_is_no_history(valkey: Valkey, body: Reply) -> None:
    async with histories(valkey) as there:
        there.faulty.replies["CareTeam/_history"] = body
        answered = await there.broker.get("CareTeam/_history?_count=50")
        assert changed(answered) == there.without()
        assert outcome_codes(answered.json) == [("manager.invalid", FAULTY)]


@pytest.mark.parametrize("status", [400, 404, 405, 501])
async def test_a_manager_without_the_history_of_all_is_read_another_way(valkey: Valkey, status: int) -> None:
    async with regions(valkey, size=6) as there:
        for manager in there.managers.values():
            manager.faults = Faults(status=status, only=r"^CareTeam/_history$")
        answered = await there.broker.get("CareTeam/_history?_count=50")
        assert changed(answered) == there.order
        assert sorted(outcome_codes(answered.json)) == sorted(
            ("manager.no-type-history", slug) for slug in REGION
        )


async def test_a_history_whose_next_link_repeats_ends(valkey: Valkey) -> None:
    async with regions(valkey, slugs=[FAULTY], size=6) as there:
        base, turn = there.faulty.base_url, 0

        def again(received: Received) -> Reply:
            nonlocal turn
            turn += 1
            links = {"next": f"{base}/CareTeam/_history?turn={turn}"}
            return reply(bundle([RESOURCE], base=base, type="history", links=links))

        there.faulty.replies["CareTeam/_history"] = again
        found: Answered = await there.broker.get("CareTeam/_history")
        assert found.status == 200
        assert outcome_codes(found.json) == [("manager.invalid", FAULTY)]
        assert link(found.json, "next") is None
        assert turn == 2
