"""How searches may be sent, sorted and trimmed, and what can be read: one small experiment each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

import orjson

from broker.core.fhir_dates import date_range
from broker.core.manager_failure import kind_of_status
from broker.core.search_parameters import PARAMETERS
from broker.federation.check_holdings import Holdings
from broker.federation.check_session import CheckSession, Found, judged, together
from broker.federation.probe_pages import Resource, is_id
from broker.federation.probes import NOBODY, bad_value, good_value, references
from broker.ports import ManagerAnswer


async def check_post(session: CheckSession, circles: Sequence[Resource]) -> bool | None:
    """Whether POST _search answers what GET answers, and filters by what the body says."""
    if not circles:
        found = await session.search("CareTeam", [("_id", NOBODY)], post=True)
        return False if found.refused else None
    for name in ("_id", "identifier"):  # no data about a person: the same goes by GET
        parameter = PARAMETERS["CareTeam"][name]
        good = good_value(circles[0], parameter, session.base)
        if good is None:
            continue
        verdict = await _post_as_get(session, name, good, bad_value(parameter, good))
        if verdict is not None:
            return verdict
    return None


async def _post_as_get(session: CheckSession, name: str, good: str, bad: str) -> bool | None:
    by_get, by_post, nobody_get, nobody_post = await together(
        session.search("CareTeam", [(name, good), ("_count", "20")], post=False),
        session.search("CareTeam", [(name, good), ("_count", "20")], post=True),
        session.search("CareTeam", [(name, bad), ("_count", "1")], post=False),
        session.search("CareTeam", [(name, bad), ("_count", "1")], post=True),
    )
    if by_post.refused and not by_get.refused:
        return False
    if _matched(by_post) and _matched(nobody_post) == set():
        return _matched(by_post) == _matched(by_get) or bool(_matched(nobody_get))
    filters_by_get = _matched(by_get) and _matched(nobody_get) == set()
    return False if filters_by_get and _matched(by_post) is not None else None


def _matched(found: Found) -> set[str] | None:
    return None if found.page is None else set(found.page.ids)


async def check_sort(session: CheckSession, held: Holdings) -> bool | None:
    """Newest first *and* oldest first: a server's own order may happen to be one of them."""
    if len({_instant(circle) for circle in held.circles}) < 2:
        return None
    newest, oldest = await together(
        session.search("CareTeam", [("_sort", "-_lastUpdated"), ("_count", "20")]),
        session.search("CareTeam", [("_sort", "_lastUpdated"), ("_count", "20")]),
    )
    if newest.refused or oldest.refused:
        return False
    if newest.page is None or oldest.page is None:
        return None
    falling = [_instant(circle) for circle in newest.page.matches]
    rising = [_instant(circle) for circle in oldest.page.matches]
    seen = sorted(falling + rising)
    if not falling or not rising:
        return False
    in_order = falling == sorted(falling, reverse=True) and rising == sorted(rising)
    # The ends too: sorting each page by itself is no order.
    return in_order and falling[0] == seen[-1] and rising[0] == seen[0] and seen[0] != seen[-1]


def _instant(circle: Resource) -> float:
    meta = circle.get("meta")
    found = date_range(meta.get("lastUpdated")) if isinstance(meta, dict) else None
    return found.low if found else float("-inf")


async def check_revinclude(session: CheckSession, held: Holdings) -> bool | None:
    """On a patient, by the related persons that are known, else by the circles."""
    for source, element in (("RelatedPerson", "patient"), ("CareTeam", "subject")):
        for resource in held.of(source):
            for kind, patient in references([resource], element, session.base):
                found = await session.search(
                    kind, [("_id", patient), ("_revinclude", f"{source}:{element}"), ("_count", "20")]
                )
                if found.page is None:
                    return False if found.refused else None
                return (source, resource["id"]) in found.page.held()
    return None


async def check_elements(session: CheckSession, held: Holdings) -> bool | None:
    """Asked for the status alone, a circle must come with less than it has."""
    if not held.circles:
        return None
    found = await session.search("CareTeam", [("_elements", "status"), ("_count", "20")])
    if found.page is None:
        return False if found.refused else None
    whole = {circle["id"]: circle for circle in held.circles}
    kept = {"resourceType", "id", "meta", "status"}
    for trimmed in found.page.matches:
        full = whole.get(trimmed["id"])
        if full is not None and full.keys() - kept:
            return trimmed.keys() < full.keys()
    return None


async def check_paging(session: CheckSession, held: Holdings) -> bool | None:
    """One circle to the page: the next page must hold another one."""
    if len(held.circles) < 2:
        return None
    first = (await session.search("CareTeam", [("_count", "1")])).page
    if first is None or len(first.matches) != 1:
        return None
    if first.next_url is None:
        return False
    answer = await session.probe("GET", urljoin(session.base.rstrip("/") + "/", first.next_url))
    found = judged(answer, "CareTeam")
    if found.page is None:
        return False if found.refused else None
    return bool(found.page.matches) and found.page.ids != first.ids


async def check_history_type(session: CheckSession, held: Holdings) -> bool | None:
    answer = await session.probe("GET", "CareTeam/_history", query=[("_count", "5")])
    return _is_history(judged(answer, "CareTeam"), expected=bool(held.circles))


def _is_history(found: Found, *, expected: bool) -> bool | None:
    if found.page is None:
        return False if found.refused else None
    return found.page.kind == "history" and (found.page.entries > 0 or not expected)


@dataclass(frozen=True, slots=True)
class Reads:
    read: bool | None = None
    vread: bool | None = None
    history: bool | None = None


async def check_reads(session: CheckSession, held: Holdings) -> Reads:
    """Read, vread and history-instance of a circle that is held."""
    if not held.circles:
        return Reads()
    circle = held.circles[0]
    target = f"CareTeam/{circle['id']}"
    meta = circle.get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    read, history = await together(
        session.probe("GET", target), session.probe("GET", f"{target}/_history", query=[("_count", "5")])
    )
    vread = await session.probe("GET", f"{target}/_history/{version}") if is_id(version) else None
    return Reads(
        read=_is_circle(read, circle),
        vread=_is_circle(vread, circle),
        history=_is_history(judged(history, "CareTeam"), expected=True),
    )


def _is_circle(answer: ManagerAnswer | None, circle: Resource) -> bool | None:
    if answer is None:
        return None
    if kind_of_status(answer.status) is not None:
        return judged(answer, "CareTeam").refused and False
    try:
        resource = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(resource, dict) and resource.get("id") == circle["id"]
