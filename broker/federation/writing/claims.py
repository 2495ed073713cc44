"""Names that one write at a time may hold, on every node (federation, section 4).

A claim is taken before anything is looked up and expires by itself: who dies before sending leaves nothing behind. With the
intent it becomes lasting: what was sent may have happened, so the name stays taken until somebody knows. Whoever comes
meanwhile waits for the end of the first, inside its own deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.core.sealing import Sealer
from broker.errors import RequestError
from broker.federation.context import RequestContext
from broker.federation.writing.records import Claim, Marker, Person, open_marker
from broker.ports import Clock
from registry.locator_model import Identifier
from registry.ports import WriteLog
from registry.write_model import Taken

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.25  # seconds between two looks at a name that is taken
_MARGIN = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Claims:
    log: WriteLog
    sealer: Sealer
    clock: Clock

    def person_names(self, person: Person) -> tuple[bytes, ...]:
        """The names of a person and of the circle to be: one for each identifier and each secret at hand, so that any two
        ways of naming somebody that share an identifier meet."""
        said = [f"{system}\n{value}" for system, value in person.identifiers] + list(person.references)
        circle = [f"{system}\n{value}" for system, value in person.circle]
        return self._names("person", said) + self._names("circle", circle)

    def actor_names(self, manager: str, resource_type: str, identifier: Identifier) -> tuple[bytes, ...]:
        """The name of an actor at one manager."""
        system, value = identifier
        return self._names("actor", [f"{manager}\n{resource_type}\n{system}\n{value}"])

    def _names(self, purpose: str, said: Sequence[str]) -> tuple[bytes, ...]:
        found = dict.fromkeys(
            name for one in said for name in self.sealer.digests(purpose, one.strip().casefold().encode())
        )
        return tuple(found)

    async def take(
        self, names: tuple[bytes, ...], context: RequestContext, refused: Callable[[Marker], Exception]
    ) -> Claim:
        """Hold the names, as soon as nobody else does. `refused` makes the error for what another left there meanwhile.

        `write.being-made` where the other is not done in time. Raises `StoreError`.
        """
        if not names:
            return Claim()
        pause = _FIRST_PAUSE
        while True:
            left = context.deadline - self.clock.monotonic()
            got = await self.log.claim(names, seconds=left + _MARGIN)
            if not isinstance(got, Taken):
                return Claim(names, got)
            pause = await self._wait(names, got.token, context, pause, refused)

    async def _wait(
        self,
        names: tuple[bytes, ...],
        token: int,
        context: RequestContext,
        pause: float,
        refused: Callable[[Marker], Exception],
    ) -> float:
        """Until the holder of a token is done. The pause to go on with."""
        while True:
            if self.clock.monotonic() + pause > context.deadline:
                raise RequestError("write.being-made")
            await self.clock.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            held, left = await self.log.look(names)
            marker = None if left is None else open_marker(self.sealer, left)
            if marker is not None:
                raise refused(marker)
            if held != token:
                return pause
