"""Python's cyclic garbage collector, set for a process that serves.

A search makes some thousands of objects that live until its answer leaves and hardly any cycle. With the defaults
(a collection every 700 objects) the collector goes over the searches under way some twenty times in each of them:
a tenth of a worker's time with one client, a third with sixteen (`make bench`). Reference counting frees nearly all
of it anyway.
"""

from __future__ import annotations

import gc

YOUNG = 20_000
"""Objects made, less those freed, between two collections."""

_MIDDLE = 3
"""Young collections between two of the middle generation: it too is to take a few milliseconds at most."""

_ALL = 100
"""Those between two of all that lives. What a large transaction makes, a million objects, must not be gone over while it is
under way: that is a tenth of a second in which nobody is served."""


def settle() -> None:
    """Call it once, when everything that stays is loaded: that is set aside and never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, _MIDDLE, _ALL)
