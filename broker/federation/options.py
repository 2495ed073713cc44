"""The figures that the use cases are run with; the settings fill them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FederationOptions:
    """`public_base`: the broker's own FHIR base, without a final slash. Times in seconds, bounds in matches.

    `sort_bound`: how many matches of one manager are read to be sorted or filtered here. `count_bound`: how many are
    read, over all managers, to give an exact total. `include_rounds`: how deep `:iterate` is followed. `include_bound`:
    resources that one manager's part of one page may bring in. `page_bound`: pages of one search, one behind the other.
    """

    public_base: str
    federation_id: str
    default_count: int = 20
    max_count: int = 200
    page_ttl: int = 900
    sort_bound: int = 1000
    count_bound: int = 5000
    include_rounds: int = 5
    include_bound: int = 1000
    page_bound: int = 10_000
