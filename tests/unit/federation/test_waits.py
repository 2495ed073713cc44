"""How long managers were waited for."""

from __future__ import annotations

from broker.federation.context import Waits


def test_a_manager_is_waited_for_from_its_first_request_to_its_last_answer() -> None:
    waits = Waits()
    waits.note("bre", 2.0, 2.5)
    waits.note("bre", 1.0, 2.25)
    waits.note("occ", 1.0, 9.0)
    assert waits.by_manager == {"bre": (1.0, 2.5, 2), "occ": (1.0, 9.0, 1)}
