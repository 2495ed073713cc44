"""Whose data one request has touched: gathered on the way, told to the audit at its end."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Touched:
    """`persons`: public references to Patients (`Patient/bre.12`). `resources`: public references to what was read or
    written by name. `managers`: slugs of those that were asked. `risk_accepted`: uniqueness was not proven, by choice."""

    persons: set[str] = field(default_factory=set)
    resources: set[str] = field(default_factory=set)
    managers: set[str] = field(default_factory=set)
    risk_accepted: bool = False
