"""What is told of each page of a search, for the figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PageTold:
    """`asked`: managers; `left_out`: those that hold no match; `unable`: those that cannot be asked this; `refused`: those
    out of the client's reach. `partial`: whether it lacks what a manager did not give. `merging`: seconds, not waiting."""

    first: bool
    asked: int
    left_out: int
    unable: int
    refused: int
    matches: int
    partial: bool
    merging: float
