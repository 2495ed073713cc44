"""The figures that sending the present state is run with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    """Seconds, but for `at_once` (circles read at one home at a time) and `most` (managers read at a time).

    `lease`: how long a leader that fell silent stays one. `look`: between two looks at what is to be done. `overlap`: after
    which a change that was made is sure to show in a manager's lists; so far back it is read again at the end.
    """

    lease: float = 10.0
    look: float = 1.0
    overlap: float = 10.0
    at_once: int = 8
    most: int = 4
