"""What the store knows of the trail set beside what there is of it."""

from __future__ import annotations

from adapters.audit.verification import Report, Stored
from broker.core.audit.chain import Head
from broker.core.audit.verify import Flaw


def compared(head: Head) -> Report:
    report = Report()
    report.compare(Stored({"node-1": head}), "node")
    return report


def test_a_stream_in_which_nothing_was_written_is_not_missed() -> None:
    """Of a process that has begun, and was asked for nothing."""
    assert compared(Head()).intact


def test_a_stream_that_had_something_is() -> None:
    [finding] = compared(Head(3, "mac")).findings
    assert (finding.flaw, finding.first, finding.last) == (Flaw.MISSING, 1, 3)
