"""The includes of one page: those that managers sent with its matches, and those fetched for managers that send none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.aside import aside
from broker.core.access.policy import may_see
from broker.core.bundle import Entry
from broker.core.identity import Origin
from broker.core.include_paths import belonging
from broker.core.merge import START, Found, Taken
from broker.core.query import SearchQuery
from broker.errors import Issue, ManagerError
from broker.federation.context import RequestContext
from broker.federation.fan_out import fan_out
from broker.federation.includes import IncludeFetcher
from broker.federation.manager_search import ManagerSearch
from broker.federation.options import FederationOptions
from broker.federation.page_run import PageRun


async def page_includes(
    query: SearchQuery,
    run: PageRun,
    searches: Mapping[str, ManagerSearch],
    taken: Taken[Entry],
    context: RequestContext,
    aliases: dict[str, str],
    options: FederationOptions,
) -> tuple[list[Entry], list[Issue]]:
    """The includes, each once and none that is a match of the page; and which managers' could not be had."""
    if not query.includes or not taken.found:
        return [], []
    groups = _by_manager(taken.found)
    here = {slug: one for slug in groups if (one := searches[slug]).ask.plan.include_here or one.ignored}
    sent = {slug: searches[slug].origin for slug in groups if slug not in here}
    included = await aside(run.size_read, _sent, query, run, sent, groups)

    async def fetch(slug: str) -> tuple[list[Entry], bool]:
        fetcher = IncludeFetcher(
            here[slug].calls,
            here[slug].origin,
            context,
            aliases,
            rounds=options.include_rounds,
            bound=options.include_bound,
        )
        return await fetcher.complete(query.includes, groups[slug])

    issues: list[Issue] = []
    for slug, result in (await fan_out(list(here), fetch)).items():
        brought, complete = ([], False) if isinstance(result, ManagerError) else result
        included += brought
        if not complete:
            issues.append(run.issue("manager.include-failed", slug))
    matched = {(found.item.type, found.public_id) for found in taken.found}
    once = {(entry.type, entry.public_id): entry for entry in included}
    return [entry for key, entry in once.items() if key not in matched], issues


def _sent(
    query: SearchQuery, run: PageRun, sent: Mapping[str, Origin], groups: Mapping[str, list[Entry]]
) -> list[Entry]:
    """What managers sent with the page's matches, and belongs to them."""
    included: list[Entry] = []
    for slug, origin in sent.items():
        every = [found.item for _, found in run.streams[slug].after(START)]
        included += belonging(groups[slug], every, run.others.get(slug, []), query.includes, origin)
    return included


def shown_includes(included: list[Entry], context: RequestContext) -> tuple[list[Entry], list[Issue]]:
    """Those of types that the client may read or search, and which types are held back."""
    scopes = context.principal.scopes
    withheld = {kind for kind in {entry.type for entry in included} if not may_see(scopes, kind)}
    if not withheld:
        return included, []
    kept = [entry for entry in included if entry.type not in withheld]
    return kept, [Issue("access.include", {"types": ", ".join(sorted(withheld))})]


def _by_manager(found: Sequence[Found[Entry]]) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for one in found:
        groups.setdefault(one.public_id.partition(".")[0], []).append(one.item)
    return groups
