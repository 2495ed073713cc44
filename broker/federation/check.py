"""What can this manager do? Its statement is read, and then put to the test, because statements lie.

In order: the statement; a page of circles; how searches may be sent; includes (which also bring the actors to
try the rest with); order, pages, elements, reads and history; every search parameter of every type; chains;
modifiers.
Each finding is True (seen to work), False (seen not to) or None (nothing to try it with): never a guess.

Nothing that identifies a person is put in a URL: such values go by POST. At a manager that searches by GET
alone the parameters for people are tried with nobody's values only, and chains with a gender or a kind of
relationship.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urljoin

import msgspec

from broker.core.lacks import lacks_of
from broker.core.manager_failure import failed, kind_of_status
from broker.core.search_parameters import TYPES
from broker.core.statement import Statement, read_statement
from broker.errors import FailureKind, ManagerError
from broker.federation.check_chains import check_chaining
from broker.federation.check_features import (
    check_elements,
    check_history_type,
    check_paging,
    check_post,
    check_reads,
    check_revinclude,
    check_sort,
)
from broker.federation.check_holdings import Holdings, gather_holdings
from broker.federation.check_modifiers import check_modifiers
from broker.federation.check_parameters import Parameters, check_parameters
from broker.federation.check_session import CheckSession, judged, together
from broker.federation.probe_pages import Page, read_page
from broker.federation.probes import RESOURCE_LEVEL
from broker.ports import Clock, ManagerClient
from registry.model import Gestionnaire, SearchMethod, Skills

SAMPLE: Final = 50
"""How many circles are looked at."""

_ENOUGH: Final = 6  # circles, where pages are tiny
_MORE_PAGES: Final = 5


async def check(
    client: ManagerClient,
    clock: Clock,
    manager: Gestionnaire,
    *,
    timeout: float,  # noqa: ASYNC109 - the client's bound of each request, not one of the whole check
    federation_id: str | None = None,
) -> Skills:
    """Find out what a manager can do; `timeout` (seconds) bounds each of at most `MAX_REQUESTS` requests,
    none of which is begun after `MAX_SECONDS`.

    A missing or unreadable statement is no failure: then only what was seen to work counts. Raises
    ManagerError where the manager cannot be judged: unreachable, refusing, saturated, failing, no FHIR
    server; and of kind `loop` where it leads back to the federation `federation_id`.
    """
    session = CheckSession(client, clock, manager, timeout=timeout, federation_id=federation_id)
    statement = await _statement(session, federation_id)
    sample = await _sample(session)
    post = await check_post(session, sample.matches)
    session.post = bool(post) and manager.search_method is not SearchMethod.GET
    held = await gather_holdings(session, sample.matches)
    skills = await _learn(session, held, statement or Statement())
    skills = msgspec.structs.replace(
        skills,
        checked_at=clock.now().isoformat(timespec="seconds").replace("+00:00", "Z"),
        post_search=post,
        broker=statement.broker if statement else None,
        total=_gives_totals(sample, session.pages),
        max_page=max((len(page.matches) for page in session.pages), default=0) or None,
    )
    return msgspec.structs.replace(skills, lacks=lacks_of(skills))


async def _learn(session: CheckSession, held: Holdings, declared: Statement) -> Skills:
    sort, revinclude, elements, paging, history_type = await together(
        check_sort(session, held),
        check_revinclude(session, held),
        check_elements(session, held),
        check_paging(session, held),
        check_history_type(session, held),
    )
    reads = await check_reads(session, held)
    found = await _all_parameters(session, held, declared)
    working = {
        kind: params.working
        for kind, params in found.items()
        if held.of(kind) or declared.search_params.get(kind)  # of any other type nothing is known
    }
    chaining = await check_chaining(session, held, working)
    modifiers = await check_modifiers(session, held, working)
    unproven = {f"{kind}.{name}" for kind in found for name in found[kind].unproven}
    return Skills(
        software=declared.software,
        fhir_version=declared.fhir_version,
        # JSON is what it just spoke; without a statement nothing is known of the others.
        formats=tuple(dict.fromkeys(("json", *declared.formats))) if declared.formats else (),
        interactions=declared.interactions,
        search_params=working,
        unproven=tuple(sorted(unproven | {f":{name}" for name in modifiers.untried})),
        modifiers=modifiers.working,
        chaining=chaining,
        include=held.include,
        iterate=held.iterate,
        revinclude=revinclude,
        sort=sort,
        history_type=history_type,
        history_instance=reads.history,
        read=reads.read,
        vread=reads.vread,
        elements=elements,
        paging=paging,
        federations=declared.federations,
    )


async def _statement(session: CheckSession, federation_id: str | None) -> Statement | None:
    try:
        answer = await session.ask("GET", "metadata")
    except ManagerError as error:
        if error.kind in (FailureKind.UNREACHABLE, FailureKind.LOOP):
            raise
        return None
    statement = read_statement(answer.body) if answer.status == 200 else None
    if statement is not None and federation_id in statement.federations:
        raise failed(session.manager, FailureKind.LOOP, status=answer.status)
    return statement


async def _sample(session: CheckSession) -> Page:
    """A page of the circles held; an empty one where none is, or none is shown without a person."""
    kind: FailureKind | None = None
    for query in (
        [("_count", str(SAMPLE)), ("_total", "accurate")],
        [("_count", str(SAMPLE))],
        [("status", "active"), ("_count", str(SAMPLE))],
    ):
        answer = await session.ask("GET", "CareTeam", query=query)
        kind = kind_of_status(answer.status)
        if kind is None:
            page = read_page(answer.body, "CareTeam", asked=SAMPLE)
            if page is None:
                raise failed(session.manager, FailureKind.INVALID, status=answer.status)
            session.pages.append(page)
            return await _with_more(session, page)
        if kind is not FailureKind.REJECTED and kind is not FailureKind.NOT_SUPPORTED:
            raise failed(session.manager, kind, status=answer.status)
    return Page(kind="refused", matches=(), others=(), total=None, entries=0)


async def _with_more(session: CheckSession, page: Page) -> Page:
    """The sample and, of a manager with tiny pages, the circles on the next few: one circle alone shows little."""
    matches, following = page.matches, page.next_url
    for _ in range(_MORE_PAGES):
        if following is None or len(matches) >= _ENOUGH:
            break
        found = judged(
            await session.probe("GET", urljoin(session.base.rstrip("/") + "/", following)), "CareTeam"
        )
        if found.page is None:
            break
        known = {circle["id"] for circle in matches}
        matches += tuple(circle for circle in found.page.matches if circle["id"] not in known)
        following = found.page.next_url
    return replace(page, matches=matches)


async def _all_parameters(
    session: CheckSession, held: Holdings, declared: Statement
) -> Mapping[str, Parameters]:
    found = await together(
        *(
            check_parameters(session, kind, held.of(kind), declared.search_params.get(kind, ()))
            for kind in TYPES
        )
    )
    by_type = dict(zip(TYPES, found, strict=True))
    general = RESOURCE_LEVEL.intersection(by_type["CareTeam"].working)
    for kind, params in by_type.items():
        if kind != "CareTeam" and params.working:
            names = general.intersection(declared.search_params.get(kind, ()))
            by_type[kind] = params.with_general(names)
    return by_type


def _gives_totals(sample: Page, pages: Sequence[Page]) -> bool | None:
    """Given where it was asked for, and nowhere wrong."""
    if sample.kind == "refused":
        return None
    return bool(sample.total_is_true()) and all(page.total_is_true() is not False for page in pages)
