"""The links of a federated page: `self`, `first`, `previous`, `next` (FHIR R4, http.html#paging)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from broker.core.bundle import Entry
from broker.core.cursor import Cursor
from broker.core.dedup import circle_keys
from broker.core.form_text import form_text
from broker.core.merge import Taken
from broker.errors import Issue, StoreError
from broker.federation.context import RequestContext
from broker.federation.page_run import PageRun
from broker.federation.pages import PageKeeper, PageState

Links = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Makes the links of one page. `address` is that of the search or history, without parameters.

    `token` is that of the page itself; None for a first page, whose `self` is the query as it was used.
    """

    keeper: PageKeeper
    address: str
    state: PageState
    token: str | None
    page_bound: int = 10_000

    async def make(
        self, run: PageRun, taken: Taken[Entry], context: RequestContext, *, copies: bool
    ) -> tuple[Links, list[Issue]]:
        """The links, and the warning where the store keeps no further page. `copies`: remember circles shown."""
        links = self.here()
        if not taken.more:
            return links, []
        if self.state.depth >= self.page_bound:
            return links, [Issue("limit.pages", {"limit": self.page_bound})]
        states: dict[Cursor, PageState] = {}
        first = self.state.first
        if first is None:
            begun = self.keeper.mint(context)
            states[begun], first = self.state, begun.token
        following = self.keeper.mint(context)
        states[following] = replace(
            self.state,
            watermark=taken.watermark,
            positions=run.next_positions(taken.watermark),
            shown=self._shown(taken) if copies else {},
            first=first,
            previous=self.token or first,
            depth=self.state.depth + 1,
        )
        try:
            await self.keeper.keep(states, context)
        except StoreError:
            return links, [Issue("page.unavailable")]
        return [*links, ("next", self._page(following.token))], []

    def here(self) -> Links:
        """Without `next`."""
        if self.token is None:
            pairs = self.state.pairs
            return [("self", f"{self.address}?{form_text(pairs)}" if pairs else self.address)]
        links = [("self", self._page(self.token))]
        if self.state.first is not None:
            links.append(("first", self._page(self.state.first)))
        if self.state.previous is not None:
            links.append(("previous", self._page(self.state.previous)))
        return links

    def _page(self, token: str) -> str:
        return f"{self.address}?_page={token}"

    def _shown(self, taken: Taken[Entry]) -> dict[str, str]:
        shown: Mapping[str, str] = {
            key: found.public_id for found in taken.found for key in circle_keys(found.item)
        }
        return {**self.state.shown, **shown}
