"""The figures of several processes as those of one broker."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from broker.core.breaker import BreakerState
from broker.federation.manager_guard import ManagerHealth
from broker.federation.traffic import Bucket, ManagerTraffic
from broker.observability.together import ADDED_UP, LEAST, MOST, SHARED, Together, page
from broker.observability.told import Family, Outlook, Sample, Told, families

ROOT = Path(__file__).parents[3]


def counted(value: float, **labels: str) -> Metric:
    family = CounterMetricFamily("cds_things", "Things", labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(name, "A gauge", value=value)


def told(*metrics: Metric, outlook: Outlook | None = None) -> Told:
    """As it comes over the pipe."""
    sent = msgspec.msgpack.encode(Told(families(metrics), outlook or Outlook()))
    return msgspec.msgpack.decode(sent, type=Told)


def values(together: Together) -> dict[tuple[str, str], float]:
    text = page(together.families()).decode()
    return {
        (
            sample.name,
            ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items())),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_are_added_up_by_their_labels() -> None:
    together = Together()
    together.tell("worker-0", told(counted(3, manager="bre")))
    together.tell("worker-1", told(counted(4, manager="bre"), counted(1, manager="idf")))
    assert values(together) == {
        ("cds_things_total", "manager=bre"): 7,
        ("cds_things_total", "manager=idf"): 1,
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, 3) for name in sorted(ADDED_UP)),
        *((name, 1) for name in sorted(LEAST)),
        *((name, 2) for name in sorted(MOST)),
    ],
)
def test_a_gauge_goes_by_its_rule(name: str, expected: float) -> None:
    together = Together()
    together.tell("worker-0", told(gauge(name, 2)))
    together.tell("worker-1", told(gauge(name, 1)))
    assert values(together) == {(name, ""): expected}


def test_a_counter_of_one_thing_that_all_see_is_not_added_up() -> None:
    together = Together()
    for name in ("worker-0", "worker-1"):
        together.tell(name, told(CounterMetricFamily("cds_store_evicted_keys", "Keys", value=5)))
    assert values(together) == {("cds_store_evicted_keys_total", ""): 5}


def test_figures_of_a_process_bear_its_name() -> None:
    together = Together()
    together.tell("worker-0", told(gauge("process_open_fds", 7)))
    together.tell("background", told(gauge("process_open_fds", 9)))
    assert values(together) == {
        ("process_open_fds", "process=worker-0"): 7,
        ("process_open_fds", "process=background"): 9,
    }


def test_what_is_so_now_ends_with_a_process_and_what_it_counted_stays() -> None:
    together = Together()
    together.tell("worker-0", told(counted(3), gauge("cds_manager_in_flight", 2)))
    together.tell("worker-1", told(counted(4), gauge("cds_manager_in_flight", 1)))
    together.gone("worker-0")
    assert values(together) == {("cds_things_total", ""): 7, ("cds_manager_in_flight", ""): 1}
    together.tell("worker-0", told(counted(1)))
    assert values(together)["cds_things_total", ""] == 8


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 50))), min_size=1, max_size=40
    )
)
def test_a_count_never_falls(steps: list[tuple[str, int | None]]) -> None:
    """Whatever comes and goes: processes count upwards, end, and begin anew at nothing."""
    together, counts, shown = Together(), dict.fromkeys("abc", 0), 0.0
    for name, more in steps:
        if more is None:
            together.gone(name)
            counts[name] = 0
        else:
            counts[name] += more
            together.tell(name, told(counted(counts[name])))
        now = values(together).get(("cds_things_total", ""), 0.0)
        assert now >= shown
        shown = now
    assert shown == sum(more or 0 for _, more in steps)


def test_every_gauge_of_the_code_has_its_rule() -> None:
    found = {
        name
        for file in (ROOT / "broker").rglob("*.py")
        for name in re.findall(r"GaugeMetricFamily\(\s*\"(\w+)\"", file.read_text(encoding="utf-8"))
    }
    assert len(found) > 20
    assert found == ADDED_UP | LEAST | MOST, (
        "say in broker.observability.together what it is of several processes"
    )
    assert not (ADDED_UP & LEAST)
    assert not (ADDED_UP & MOST)
    assert not (LEAST & MOST)
    assert {"cds_store_evicted_keys"} == SHARED


def health(breaker: BreakerState, failures: int) -> ManagerHealth:
    since = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return ManagerHealth("bre", breaker, since, failures, None, 1, 2, None, 5.0)


def test_of_a_manager_the_worst_that_any_sees_and_all_that_they_exchanged() -> None:
    one, other = ManagerTraffic(), ManagerTraffic()
    one.results.update({"ok": 3})
    one.seconds, one.last = 1.5, 10.0
    one.buckets.extend([Bucket(4, 1, 0, 0.5), Bucket(5, 2, 0, 1.0)])
    other.results.update({"ok": 1, "timeout": 2})
    other.seconds, other.last, other.failing = 4.0, 12.0, 2
    other.buckets.append(Bucket(5, 3, 2, 4.0))
    together = Together()
    seen = ((one, health(BreakerState.CLOSED, 0)), (other, health(BreakerState.OPEN, 2)))
    for name, (traffic, state) in zip(("worker-0", "worker-1"), seen, strict=True):
        outlook = Outlook.of({"bre": state}, {"bre": traffic}, {"bre": 2})
        together.tell(name, told(outlook=outlook))
    outlook = together.outlook()
    assert outlook.waiting_for == {"bre": 4}
    found = outlook.health["bre"]
    assert (found.breaker, found.failures, found.in_flight, found.waiting) == (BreakerState.OPEN, 2, 2, 4)
    traffic = outlook.traffic["bre"].traffic()
    assert (traffic.exchanges, traffic.seconds, traffic.failing, traffic.last) == (6, 5.5, 2, 12.0)
    assert list(traffic.buckets) == [Bucket(4, 1, 0, 0.5), Bucket(5, 5, 2, 5.0)]


def test_histograms_are_added_up_bucket_by_bucket() -> None:
    def seconds(low: float, high: float) -> Family:
        samples = [
            Sample("cds_x_seconds_bucket", {"le": "1"}, low),
            Sample("cds_x_seconds_bucket", {"le": "+Inf"}, high),
            Sample("cds_x_seconds_count", {}, high),
            Sample("cds_x_seconds_created", {}, low),
        ]
        return Family("cds_x_seconds", "Seconds", "histogram", samples)

    together = Together()
    together.tell("worker-0", Told([seconds(1, 2)], Outlook()))
    together.tell("worker-1", Told([seconds(3, 5)], Outlook()))
    found = {
        sample.name + sample.labels.get("le", ""): sample.value
        for sample in next(together.families()).samples
    }
    assert found == {
        "cds_x_seconds_bucket1": 4,
        "cds_x_seconds_bucket+Inf": 7,
        "cds_x_seconds_count": 7,
        "cds_x_seconds_created": 1,
    }
