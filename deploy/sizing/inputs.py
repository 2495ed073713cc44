"""What the model is given: figures that were measured, and assumptions, each with its source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MEASURED, ASSUMPTIONS = HERE / "measured.json", HERE / "assumptions.json"


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one request, answer or change; `…_ms`: processor time, `…_bytes`: on the wire or kept, one copy."""

    located_ms: float
    read_ms: float
    fan_out_13_ms: float
    create_ms: float
    update_ms: float
    publish_ms: float
    follow_ms: float
    redis_located_ms: float
    redis_change_ms: float
    located_bytes: float
    read_bytes: float
    fan_out_13_bytes: float
    event_bytes: float
    notice_bytes: float
    trace_bytes: float
    index_bytes: float
    worker_mb: float

    def fan_out_ms(self, managers: int) -> float:
        """A line through one manager asked (a located search) and thirteen."""
        each = (self.fan_out_13_ms - self.located_ms) / 12
        return self.located_ms + each * (managers - 1)

    def fan_out_bytes(self, managers: int) -> float:
        return self.fan_out_13_bytes / 13 * managers


@dataclass(frozen=True, slots=True)
class Region:
    """`utc`: hours that its day is ahead of Paris'."""

    code: str
    name: str
    people: float
    utc: int


@dataclass(frozen=True, slots=True)
class Assumptions:
    """`assumptions.json`, where each says what it means and where it is from."""

    regions: Mapping[str, Region]
    sizes: Mapping[str, Sequence[str]]
    circles_per_person: float
    active_share: float
    looks_per_active_circle_and_day: float
    looks_per_other_circle_and_day: float
    reads_per_look: float
    fan_outs_per_look: float
    changes_per_active_circle_and_day: float
    creations_per_change: float
    changes_through_broker: float
    topics_per_change: float
    day: Sequence[float]
    busiest_minute: float
    manager_median_ms: float
    manager_p99_ms: float
    manager_per_second_and_million: float
    manager_least_per_second: float
    workers_per_node: int
    commands_per_change: float
    changes_per_partition: float
    kafka_mbit: float
    kafka_copies: int
    kafka_days: int
    most_busy: float
    most_busy_manager: float

    def of(self, size: str) -> Sequence[Region]:
        return [self.regions[code] for code in self.sizes[size]]

    def per_second(self, region: Region) -> float:
        """Requests that its manager answers in a second."""
        return max(self.manager_least_per_second, region.people / 1e6 * self.manager_per_second_and_million)


def measured(path: Path = MEASURED) -> Measured:
    """Raises `ValueError`, `TypeError` where a figure is missing or is none."""
    figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return Measured(**{name: _number(name, one["value"]) for name, one in figures.items()})


def assumptions(path: Path = ASSUMPTIONS) -> Assumptions:
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    values = {name: one["value"] for name, one in told.items() if name != "about"}
    values["regions"] = {code: Region(code, **one) for code, one in values["regions"].items()}
    return Assumptions(**values)


def placeholders(path: Path = MEASURED) -> Mapping[str, str]:
    """Figures that were not measured on a quiet machine, with what they are instead."""
    figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return {name: one["status"] for name, one in figures.items() if one["status"] != "measured"}


def _number(name: str, value: object) -> float:
    if not isinstance(value, int | float) or value <= 0:
        raise ValueError(f"{name}: {value!r} is no figure")
    return float(value)
