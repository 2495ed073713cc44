"""One run from the first request to the last look: load, faults, rests, and what was found."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.cli_process import cli, runs
from tests.support.long_run.book import Book
from tests.support.long_run.faults import FAULTS
from tests.support.long_run.figures import quantile
from tests.support.long_run.onlookers import Onlooker
from tests.support.long_run.people import People
from tests.support.long_run.plan import Plan
from tests.support.long_run.processes import Usage
from tests.support.long_run.readers import Reader
from tests.support.long_run.site import Site
from tests.support.long_run.sizes import sizes
from tests.support.long_run.truth import untold
from tests.support.long_run.watch import Watch
from tests.support.long_run.writers import Writer
from tests.support.sync_rest import at_rest
from tests.support.sync_told import Verified, verified
from tests.support.waiting import until
from tests.support.write_world import PUBLIC

Say = Callable[[str], None]

_TO_MANAGERS = frozenset({"manager established", "manager close-wait"})
_LOOKS, _BETWEEN = 8, 0.4
_PARTING = 60.0


@dataclass
class LongRun:
    """`await LongRun(site, plan, seed).run()`; afterwards its parts tell what was seen.

    `warm`: the instant from which growth is told. `before`, `after`: descriptors at rest, of all the broker's processes,
    with `tasks` and `threads`; `left`: connections to managers that are there no more. `told`: what the topics and the
    managers say at the end; `overtaken`: versions that were not told any more, see `truth`.
    """

    site: Site
    plan: Plan
    seed: str
    say: Say = print
    book: Book = field(default_factory=Book)
    faults: Counter[str] = field(default_factory=Counter)
    recovered: list[float] = field(default_factory=list)
    warm: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)
    told: Verified | None = None
    overtaken: int = 0
    sizes: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    audit: str = ""

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.people = People(random.Random(f"{self.seed}/people"))
        self.gate = asyncio.Event()
        self.watch = Watch(self.site)
        self.onlooker = Onlooker(self.site, self.book, self.gate, pause=0.5)
        self.readers = [
            Reader(self.site, self.book, self.people, self._dice(f"r{n}"), self.gate, self.plan.reader_pause)
            for n in range(self.plan.readers)
        ]
        self.writers = [
            Writer(
                self.site,
                self.book,
                self.people,
                self._dice(f"w{n}"),
                self.gate,
                self.plan.writer_pause,
                self.plan.population,
            )
            for n in range(self.plan.writers)
        ]

    def _dice(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}/{name}")

    async def run(self) -> None:
        await self.writers[0].load(self.plan.still)
        await self._rest()
        self.began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work)
                for work in (
                    *(one.run() for one in self.readers),
                    *(one.run() for one in self.writers),
                    self.onlooker.follow(),
                    self.onlooker.visit(),
                    self.watch.run(self.plan.every),
                    self._tell_on(),
                )
            ]
            await self._drive()
            for task in tasks:
                task.cancel()
        await self._end()

    async def _drive(self) -> None:
        self.gate.set()
        await self._rounds(self.plan.warm_up, measured=False)
        await self._rest()
        self.before = await self._quiet()
        self.warm = time.monotonic()
        self.gate.set()
        await self._rounds(self.plan.seconds, measured=True, rounds=self.plan.rounds)
        await self._rest()
        self.ended = time.monotonic()
        self.after = await self._quiet(self.before)

    async def _rounds(self, seconds: float, *, measured: bool, rounds: int | None = None) -> None:
        """Calm, fault, recovery: so many, or until the time is over; then calm once more, for what is left."""
        end, schedule, done = time.monotonic() + seconds, self.plan.schedule(), 0
        while (
            done < rounds if rounds is not None else time.monotonic() + self.plan.calm + self.plan.fault < end
        ):
            await self._calm(done, self.plan.calm, measured=measured)
            await self._harm(next(schedule))
            done += 1
        await self._calm(done, max(self.plan.calm, end - time.monotonic()), measured=measured)

    async def _calm(self, number: int, seconds: float, *, measured: bool) -> None:
        usage = await asyncio.to_thread(Usage.now)
        self.book.calm = number if measured else None
        await asyncio.sleep(seconds)
        self.book.calm = None
        if measured:
            self.book.others[number] = await asyncio.to_thread(usage.others)

    async def _harm(self, names: tuple[str, ...]) -> None:
        self.say(f"{self._clock()} {' and '.join(names)}")
        self.faults.update(names)
        # No TaskGroup: one that fails must not keep another from making good what it did.
        done = await asyncio.gather(
            *(FAULTS[name](self.site, self.dice, self.plan.fault) for name in names), return_exceptions=True
        )
        for one in done:
            if isinstance(one, BaseException):
                raise one
        began = time.monotonic()
        await self.site.settled()
        self.recovered.append(time.monotonic() - began)

    # --- rests

    async def _rest(self) -> None:
        """Nobody asks for anything, every write has come to its end, and every replica is as its home."""
        self.gate.clear()
        await asyncio.sleep(2 * max(self.plan.reader_pause, self.plan.writer_pause))
        await self.writers[0].finish()
        await at_rest(self.site, seconds=120.0)

    async def _quiet(self, before: Mapping[str, int] | None = None) -> Mapping[str, int]:
        """What is held at rest: at most, over a few looks; or once it is no more than `before`."""
        end = time.monotonic() + self.plan.rest
        seen: Counter[str] = Counter()
        for _ in range(_LOOKS) if before is None else itertools.count():
            await self.watch.look()
            now = self._resting()
            if before is None:
                seen |= Counter(now)
            elif not self.plan.beyond(before, now) or time.monotonic() > end:
                return now
            await asyncio.sleep(_BETWEEN)
        return seen

    def _resting(self) -> Mapping[str, int]:
        held = self.watch.now.values()
        counted = {"threads": sum(one.threads for one in held), "processes": len(held)}
        if self.watch.tasks:
            counted["tasks"] = int(self.watch.tasks[-1][1])
        return {**self.watch.descriptors(), **counted}

    async def _parted(self) -> Mapping[str, int]:
        """The connections to managers that are left when there is nobody to ask any more: none."""
        for slug, box in self.site.boxes.items():
            if self.plan.suspends:
                answered = await self.site.node.send("POST", f"../registry/gestionnaires/{slug}/suspend")
                assert answered.status == 200, answered.body
            else:
                await box.gone()
        end = time.monotonic() + _PARTING
        while True:
            await self.watch.look()
            left = {kind: n for kind, n in self.watch.descriptors().items() if kind in _TO_MANAGERS}
            if not left or time.monotonic() > end:
                return left
            await asyncio.sleep(_BETWEEN)

    # --- the end

    async def _end(self) -> None:
        self.told = await verified(self.site, self.people.accepted, lost=True)  # `untold` is stricter
        missing, self.overtaken = await untold(self.site, self.people)
        for one in missing:
            self.book.untrue(one)
        self.sizes = await sizes(self.site)
        changed = {f"{PUBLIC}/CareTeam/{circle}" for circle, _ in self.people.accepted}
        with suppress(TimeoutError):
            await until(lambda: changed <= self.site.hook.heard, seconds=30.0)
        if unheard := changed - self.site.hook.heard:
            self.book.untrue(f"by rest-hook {len(unheard)} circles were never told: {sorted(unheard)[:3]}")
        if self.site.hook.forged:
            self.book.untrue(f"{self.site.hook.forged} notifications were not signed")
        await self._verify_audit()
        self.left = await self._parted()
        below = self.site.pids
        self.exit_code = await self.site.broker.stopped()
        await self.site.agent.stopped()
        await until(lambda: not any(map(runs, below)), seconds=30.0)
        said = [*self.site.broker.stderr, *self.site.agent.stderr]
        if traces := [number for number, line in enumerate(said) if "Traceback" in line]:
            self.book.untrue(
                "a trace of a failure in the log: " + "\n".join(said[traces[0] : traces[0] + 40])
            )

    async def _verify_audit(self) -> None:
        async with cli("audit", "verify", "--json", environment=self.site.environment) as verifying:
            code = await verifying.ended()
        self.audit = "\n".join(verifying.stdout)
        if code != 0:
            self.book.untrue(f"the trail of accesses: {code}: {self.audit[:400]} {verifying.stderr[-3:]}")

    # --- telling

    async def _tell_on(self) -> None:
        counted = self.book.count
        while True:
            await asyncio.sleep(self.plan.told_every)
            count, times = self.book.count, self.book.lately()
            memory = " ".join(f"{one.rss / 1e6:.0f}" for one in self.watch.now.values())
            self.say(
                f"{self._clock()} {(count - counted) / self.plan.told_every:5.1f} req/s, "
                f"p99 {1000 * quantile(times, 0.99):5.0f} ms, MB {memory}, "
                f"descriptors {sum(self.watch.descriptors().values())}, "
                f"tasks {self.watch.tasks[-1][1] if self.watch.tasks else float('nan'):.0f}, "
                f"circles {len(self.people.circles)}, outbox {self.watch.figures.get('cds_outbox_depth', 0):.0f}, "
                f"untrue {len(self.book.wrong)}"
            )
            sys.stdout.flush()
            counted = count

    def _clock(self) -> str:
        return f"[{time.monotonic() - self.began:5.0f} s of {self.plan.warm_up + self.plan.seconds:.0f}]"
