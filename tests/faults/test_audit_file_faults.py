"""Files of the trail on a machine that fails: full, not to be written, killed in the middle, several at once."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from adapters.audit.file_sink import FileSink, Lasting
from adapters.audit.segments import last_head, lines_of, segments
from adapters.audit.slot import orphan, take
from adapters.audit.verification import verify_files
from broker.audit.sink import Group
from broker.core.audit.chain import Chain
from broker.core.audit.verify import Flaw
from broker.errors import AuditError, ConfigurationError
from tests.support.audit_sinks import KEY, KEYS, STREAM
from tests.support.fake_clock import FakeClock
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


@dataclass
class Writer:
    process: asyncio.subprocess.Process

    async def says(self, beginning: str) -> str:
        """The next line with this beginning."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            while True:
                line = (await self.process.stdout.readline()).decode().strip()
                assert line, "it has ended"
                if line.startswith(beginning):
                    return line

    def limit(self, size: int) -> None:
        """No file of it grows beyond this: a write gets in part of what it has, then fails, as on a full disk."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@asynccontextmanager
async def writer(
    directory: Path, groups: int = 0, *, max_bytes: int = 10_000_000, user: int | None = None
) -> AsyncIterator[Writer]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.audit_writer",
        str(directory),
        str(groups),
        str(max_bytes),
        *([] if user is None else [str(user)]),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Writer(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def chain() -> Chain:
    return Chain(STREAM, KEY)


def group_of(made: Chain, count: int = 1) -> Group:
    first = made.head.seq + 1
    lines = made.lines(b'{"resourceType":"AuditEvent"', [b"}"] * count)
    return Group(made.stream, first, lines, made.head)


async def test_killed_in_the_middle_the_chain_goes_on_in_a_new_segment(tmp_path: Path) -> None:
    """Whatever the kill left of its last write; what was said to be written is there."""
    said = 0
    for _ in range(4):
        async with writer(tmp_path) as one:
            for _ in range(20):
                said = int((await one.says("written")).split()[1])
            one.process.send_signal(signal.SIGKILL)
            await one.process.wait()
        report = verify_files(tmp_path, KEYS, None)
        assert report.intact, report.findings
        assert sum(report.lines.values()) >= said
    assert len(segments(tmp_path)) == 4
    assert len({one.stream for one in segments(tmp_path)}) == 1


async def test_a_torn_last_line_is_told_as_such(tmp_path: Path) -> None:
    async with writer(tmp_path, 2) as one:
        await one.process.wait()
    (segment,) = segments(tmp_path)
    held = segment.path.read_bytes()
    segment.path.write_bytes(held[: len(held) - 700])  # as a loss of power leaves it
    async with writer(tmp_path, 1) as one:
        await one.process.wait()
    report = verify_files(tmp_path, KEYS, None)
    assert report.intact, report.findings
    assert [(one.flaw, one.place, one.line) for one in report.notices] == [(Flaw.TORN, segment.name, 40)]
    assert [one.first for one in segments(tmp_path)] == [1, 40]


async def test_a_full_disk_costs_no_line_and_leaves_no_half(tmp_path: Path) -> None:
    async with writer(tmp_path) as one:
        await one.says("written")
        one.limit(100_000)  # the first segment is full now, and so is each that is begun after it
        assert await one.says("failed") == "failed File too large"
        await one.says("failed")
        one.limit(resource.RLIM_INFINITY)
        reached = int((await one.says("written")).split()[1])
        await one.says("written")
    report = verify_files(tmp_path, KEYS, None)
    assert report.intact, report.findings
    assert sum(report.lines.values()) >= reached
    assert not [line for held in segments(tmp_path)[:-1] for line, whole in lines_of(held.path) if not whole]


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that another user may enter: pytest's own are closed to others."""
    with TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


async def test_a_directory_that_may_not_be_written_to(open_path: Path) -> None:
    """At the start the operator is told; while it runs a new segment is tried for until there is one."""
    directory = open_path / "audit"
    somebody = 65_534 if os.getuid() == 0 else None  # root may write anywhere
    directory.mkdir()
    if somebody is not None:
        os.chown(directory, somebody, somebody)
    async with writer(directory, max_bytes=1, user=somebody) as one:
        await one.says("written")
        directory.chmod(0o500)  # the next segment cannot be made
        assert await one.says("failed") == "failed Permission denied"
        directory.chmod(0o700)
        await one.says("written")
    directory.chmod(0o500)
    (directory / "0.lock").unlink(missing_ok=True)
    async with writer(directory, user=somebody) as one:
        assert await one.says("ConfigurationError") == "ConfigurationError Permission denied"
    directory.chmod(0o700)
    assert verify_files(directory, KEYS, None).intact


async def test_a_disk_that_is_full_at_the_start_is_no_mistake_of_the_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adapters.audit.slot._locked", full)
    with pytest.raises(AuditError):
        take(tmp_path)
    with pytest.raises(ConfigurationError):
        take(Path("/dev/null/audit"))


async def test_writers_at_once_have_streams_of_their_own(tmp_path: Path) -> None:
    async with writer(tmp_path) as one, writer(tmp_path) as other:
        streams = [(await each.says("ready")).split()[1] for each in (one, other)]
        for each in (one, other):
            await each.says("written")
        assert streams[0].split("-")[0] == streams[1].split("-")[0]
        assert {stream.split("-")[1] for stream in streams} == {"0", "1"}
        with orphan(tmp_path, streams[0]) as free:
            assert not free
    with orphan(tmp_path, streams[0]) as free:
        assert free
    report = verify_files(tmp_path, KEYS, None)
    assert report.intact
    assert set(report.lines) == set(streams)


async def test_segments_end_by_size_and_by_day(tmp_path: Path) -> None:
    clock, made = FakeClock(), chain()
    sink = FileSink(tmp_path, clock, max_bytes=1000, lasting=Lasting.ALWAYS)
    for _ in range(8):
        await sink.write(group_of(made))
    by_size = len(segments(tmp_path))
    assert by_size > 1
    assert all(one.path.stat().st_size < 1500 for one in segments(tmp_path))
    sink_day = FileSink(tmp_path, clock, lasting=Lasting.NEVER)
    await sink.aclose()
    await sink_day.write(group_of(made))
    await sink_day.write(group_of(made))
    await clock.advance(86_400)
    await sink_day.write(group_of(made))
    await sink_day.aclose()
    assert len(segments(tmp_path)) == by_size + 2
    assert verify_files(tmp_path, KEYS, None).intact
    assert last_head(tmp_path, STREAM) == made.head


async def test_a_segment_that_was_removed_under_its_writer_is_noticed(tmp_path: Path) -> None:
    made, sink = chain(), FileSink(tmp_path, FakeClock())
    await sink.write(group_of(made))
    await sink.sync()
    segments(tmp_path)[0].path.unlink()
    with pytest.raises(AuditError):
        await sink.sync()
    await sink.write(group_of(made))
    await sink.sync()
    await sink.aclose()
    report = verify_files(tmp_path, KEYS, None)
    assert [(one.flaw, one.first, one.last) for one in report.findings] == [(Flaw.REMOVED, 1, 1)]


async def test_a_group_that_is_offered_again_is_written_once(tmp_path: Path) -> None:
    made, sink = chain(), FileSink(tmp_path, FakeClock())
    group = group_of(made, 3)
    await asyncio.gather(sink.write(group), sink.write(group))
    await sink.aclose()
    assert sum(verify_files(tmp_path, KEYS, None).lines.values()) == 3


async def test_a_writer_that_is_closed_leaves_no_thread(tmp_path: Path) -> None:
    sink = FileSink(tmp_path, FakeClock())
    await sink.write(group_of(chain()))
    await sink.aclose()
    await until(lambda: not sink._thread.is_alive())
