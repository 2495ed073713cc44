"""How many examples a property is tried on: a few in `make test`, EXAMPLES times as many in `make properties`."""

from __future__ import annotations

import os

_TIMES = int(os.environ.get("EXAMPLES") or 1)


def examples(usual: int) -> int:
    return usual * _TIMES
