"""In what order a write that is found out is told: to those who follow changes before whoever asks again by its key."""

from __future__ import annotations

from typing import Any

import pytest

from broker.federation.writing.records import Replay
from tests.unit.sync.test_settler import SETTLE, World, unanswered


async def test_a_change_waits_to_be_told_before_its_key_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its client could change the circle further, and the outbox pass over this change as an older one."""
    world, waiting = World(), []
    keep = world.store.finish

    async def finish(*given: Any, **named: Any) -> bool:
        waiting.append((await world.log.outbox.state()).depth)
        return await keep(*given, **named)

    monkeypatch.setattr(world.store, "finish", finish)
    replay = Replay(b"k" * 16, "owner")
    await world.store.begin(replay.key, b"f", owner=replay.owner, seconds=600)
    world.manager.keep_back = True
    await unanswered(world, replay)
    world.manager.deliver()
    await world.after(SETTLE + 10)
    assert waiting == [1]
    assert (await world.log.outbox.state()).depth == 1, "and it waits there once"
