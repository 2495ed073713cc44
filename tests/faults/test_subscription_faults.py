"""Subscribers by HTTP amid faults, on a real store and real sockets: nothing lost, in order, repeats by the same number."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from aiohttp import web

from broker.core.backoff import Backoff
from broker.sync.rest_hook import HookOptions
from broker.sync.tasks import end
from registry.subscription_model import QueueBounds
from tests.support.subscription_world import QUICK, Node, Subscriber, a_change, node, subscriber
from tests.support.valkey import Valkey, ValkeyServer
from tests.support.waiting import until

LONG = 15.0  # seconds to wait for at most


def in_order(numbers: Sequence[int]) -> bool:
    """Each follows the one before, or repeats what came before it."""
    return all(after <= before + 1 for before, after in pairwise([0, *numbers]))


async def tell(broker: Node, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await broker.tell(a_change(number))


async def active(broker: Node, name: str) -> None:
    async def it_is() -> bool:
        return await broker.status_of(name) == "active"

    await until(it_is, seconds=LONG)


async def test_an_endpoint_that_is_down_for_a_while_misses_nothing(valkey: Valkey) -> None:
    async with node(valkey.url, valkey.keys) as broker, subscriber() as endpoint:
        await active(broker, await broker.subscribe(endpoint.url))
        await tell(broker, 1, 5)
        await until(lambda: endpoint.numbers == [1, 2, 3, 4, 5])
        for status in (500, 302, 404):
            endpoint.status = status
            refused = endpoint.refused
            await tell(broker, len(endpoint.circles) + 1, len(endpoint.circles) + 5)
            await until(lambda refused=refused: endpoint.refused > refused + 1)
            endpoint.status = 200
            told = len(endpoint.circles) + 5
            await until(lambda told=told: len(endpoint.numbers) == told, seconds=LONG)
        assert endpoint.numbers == list(range(1, 21))
        assert endpoint.circles == [f"CareTeam/bre.{number}" for number in range(1, 21)]


async def test_an_endpoint_whose_machine_is_gone_for_a_while_misses_nothing(valkey: Valkey) -> None:
    one = Subscriber()
    one.gate.set()

    async def start(port: int) -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/hook", one.take)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        return runner

    runner = await start(0)
    port = runner.addresses[0][1]
    async with node(valkey.url, valkey.keys) as broker:
        name = await broker.subscribe(f"http://127.0.0.1:{port}/hook")
        await active(broker, name)
        await runner.cleanup()
        await tell(broker, 1, 7)

        async def tried() -> bool:
            return (await broker.queue.states([name]))[name].failures >= 2

        await until(tried, seconds=LONG)
        runner = await start(port)
        await until(lambda: one.numbers == [1, 2, 3, 4, 5, 6, 7], seconds=LONG)
        await runner.cleanup()


async def test_a_worker_that_dies_amid_a_post_is_replaced(valkey: Valkey) -> None:
    async with (
        node(valkey.url, valkey.keys) as first,
        node(valkey.url, valkey.keys, deliver=False) as publisher,
        subscriber() as endpoint,
    ):
        await active(first, await first.subscribe(endpoint.url))
        await publisher.view.refresh()
        endpoint.gate.clear()
        await tell(publisher, 1, 3)
        await until(lambda: bool(endpoint.numbers))
        await first.kill_delivery()  # the endpoint has it, and nobody knows
        endpoint.gate.set()
        arrived = list(endpoint.numbers)
        async with node(valkey.url, valkey.keys):
            await until(lambda: len(endpoint.numbers) >= len(arrived) + 3, seconds=LONG)
        again = endpoint.numbers[len(arrived) :]
        assert again == [1, 2, 3], "from the first that is not known to have arrived, by the same numbers"
        assert in_order(endpoint.numbers)


async def test_many_deaths_lose_nothing(valkey: Valkey) -> None:
    drawn = random.Random(7)
    options = HookOptions(look=0.1, lease=0.3, patience=0.3, batch=3, events=QUICK.events)
    async with node(valkey.url, valkey.keys, deliver=False) as publisher, subscriber() as endpoint:
        await publisher.subscribe(endpoint.url)
        endpoint.delay = 0.01
        telling = asyncio.ensure_future(tell(publisher, 1, 150))
        for _ in range(15):
            async with node(valkey.url, valkey.keys, options=options) as worker:
                await asyncio.sleep(drawn.uniform(0.02, 0.2))
                await (worker.stop_delivery() if drawn.random() < 0.3 else worker.kill_delivery())
        await telling
        async with node(valkey.url, valkey.keys, options=options):
            await until(lambda: 150 in endpoint.numbers, seconds=LONG)
        assert set(endpoint.numbers) == set(range(1, 151))
        assert in_order(endpoint.numbers)


async def test_a_node_that_is_told_to_end_leaves_its_turn_at_once(valkey: Valkey) -> None:
    options = HookOptions(look=0.1, lease=600, patience=600)
    async with (
        node(valkey.url, valkey.keys, options=options) as first,
        node(valkey.url, valkey.keys, deliver=False) as publisher,
        subscriber() as endpoint,
    ):
        await active(first, await first.subscribe(endpoint.url))
        endpoint.gate.clear()
        await tell(publisher, 1, 1)
        await until(lambda: endpoint.numbers == [1])
        await first.stop_delivery()
        endpoint.gate.set()
        async with node(valkey.url, valkey.keys, options=options):
            await until(lambda: endpoint.numbers == [1, 1])


async def test_a_subscription_counts_at_every_node_from_its_registration_on(valkey: Valkey) -> None:
    async with (
        node(valkey.url, valkey.keys, deliver=False) as one,
        node(valkey.url, valkey.keys, deliver=False) as other,
    ):
        await end(other.tasks)  # nothing tells it what was written
        for number in range(1, 4):
            slug = await one.subscribe("kafka:occ", f"CareTeam?_id=bre.{number}")
            assert (await other.tell(a_change(number))).topics == {"occ": "full-resource"}
            assert (await one.ask("DELETE", f"Subscription/{slug}"))[0] == 204
            assert (await other.tell(a_change(number, 2))).topics == {}


async def test_two_nodes_do_not_tell_twice(valkey: Valkey) -> None:
    # Where a node stands still for longer than that, the other takes over, and tells again.
    options = replace(QUICK, lease=30.0)
    async with (
        node(valkey.url, valkey.keys, options=options) as one,
        node(valkey.url, valkey.keys, options=options) as other,
        subscriber() as endpoint,
    ):
        await active(one, await one.subscribe(endpoint.url))
        await other.view.refresh()
        for number in range(1, 101):
            await (one, other)[number % 2].tell(a_change(number))
        await until(lambda: len(endpoint.numbers) >= 100, seconds=LONG)
        assert endpoint.numbers == list(range(1, 101))
        assert endpoint.circles == [f"CareTeam/bre.{number}" for number in range(1, 101)]


async def test_a_change_that_is_published_twice_is_one_event(valkey: Valkey) -> None:
    async with node(valkey.url, valkey.keys) as broker, subscriber() as endpoint:
        await active(broker, await broker.subscribe(endpoint.url))
        for _ in range(3):
            await tell(broker, 1, 4)
        await until(lambda: len(endpoint.numbers) >= 4)
        await tell(broker, 5, 5)
        await until(lambda: 5 in endpoint.numbers)
        assert endpoint.numbers == [1, 2, 3, 4, 5]


async def test_a_slow_endpoint_holds_nobody_else_up(valkey: Valkey) -> None:
    async with node(valkey.url, valkey.keys) as broker, subscriber() as slow, subscriber() as quick:
        for endpoint in (slow, quick):
            await active(broker, await broker.subscribe(endpoint.url))
        slow.delay = 0.3
        await tell(broker, 1, 50)
        await until(lambda: len(quick.numbers) == 50, seconds=LONG)
        assert len(slow.numbers) < 50
        await until(lambda: len(slow.numbers) == 50, seconds=LONG)
        assert slow.numbers == quick.numbers == list(range(1, 51))
        assert len(slow.of("event-notification")) <= 10, "some events at a time"


async def test_an_endpoint_that_never_answers_costs_one_turn(valkey: Valkey) -> None:
    options = HookOptions(
        at_once=2,
        look=0.1,
        lease=0.5,
        patience=0.2,
        events=Backoff(first=0.5, most=1),
        handshake=QUICK.handshake,
    )
    async with (
        node(valkey.url, valkey.keys, options=options) as broker,
        subscriber() as hung,
        subscriber() as quick,
    ):
        for endpoint in (hung, quick):
            await active(broker, await broker.subscribe(endpoint.url))
        hung.gate.clear()
        await tell(broker, 1, 20)
        await until(lambda: len(quick.numbers) == 20, seconds=LONG)
        hung.gate.set()
        await until(lambda: 20 in hung.numbers, seconds=LONG)
        assert in_order(hung.numbers)


async def test_a_store_that_is_killed_loses_nothing(own_valkey: ValkeyServer) -> None:
    async with node(own_valkey.url) as broker, subscriber() as endpoint:
        name = await broker.subscribe(endpoint.url)
        await active(broker, name)
        endpoint.status = 503
        await tell(broker, 1, 6)
        await until(lambda: endpoint.refused > 0)
        await asyncio.to_thread(own_valkey.kill)
        endpoint.status = 200
        status, told, _ = await broker.ask("GET", f"Subscription/{name}")
        assert (status, told["resourceType"]) == (503, "OperationOutcome")
        assert broker.view.get(name) is not None, "what is known goes on being used"
        await asyncio.to_thread(own_valkey.restart)
        await until(lambda: 6 in endpoint.numbers, seconds=LONG)
        assert set(endpoint.numbers) == {1, 2, 3, 4, 5, 6}
        assert in_order(endpoint.numbers)
        assert await broker.status_of(name) == "active"


async def test_a_subscriber_that_is_dead_is_shown_and_goes_on_where_it_was(valkey: Valkey) -> None:
    options = HookOptions(
        look=0.1,
        lease=0.5,
        patience=1,
        events=Backoff(first=0.05, most=0.1, give_up=0.5),
        handshake=QUICK.handshake,
    )
    async with node(valkey.url, valkey.keys, options=options) as broker, subscriber() as endpoint:
        name = await broker.subscribe(endpoint.url)
        await active(broker, name)
        endpoint.status = 500
        await tell(broker, 1, 3)

        async def suspended() -> bool:
            return await broker.status_of(name) == "error"

        await until(suspended, seconds=LONG)
        _, found, _ = await broker.ask("GET", f"Subscription/{name}")
        assert "500" in found["error"]
        _, told, _ = await broker.ask("GET", f"Subscription/{name}/$status")
        assert "500" in str(told)
        await broker.view.refresh()
        await tell(broker, 4, 6)
        _, missed, _ = await broker.ask("GET", f"Subscription/{name}/$events?eventsSinceNumber=1")
        assert len(missed["entry"]) == 1 + 6 * 2
        endpoint.status = 200
        del found["error"]
        status, told, _ = await broker.ask("PUT", f"Subscription/{name}", found | {"status": "active"})
        assert (status, told["status"]) == (200, "requested")
        await until(lambda: endpoint.numbers == [1, 2, 3, 4, 5, 6], seconds=LONG)
        assert await broker.status_of(name) == "active"


async def test_a_queue_that_overflows_shows_the_gap(valkey: Valkey) -> None:
    async with (
        node(valkey.url, valkey.keys, bounds=QueueBounds(events=5)) as broker,
        subscriber() as endpoint,
    ):
        name = await broker.subscribe(endpoint.url)
        await active(broker, name)
        endpoint.status = 500
        await tell(broker, 1, 12)
        await until(lambda: endpoint.refused > 1)
        endpoint.status = 200
        await until(lambda: 12 in endpoint.numbers, seconds=LONG)
        assert endpoint.numbers == [8, 9, 10, 11, 12]
        assert (await broker.queue.states([name]))[name].lost == 7


async def test_a_registration_that_was_cut_short_is_mended(valkey: Valkey) -> None:
    async with node(valkey.url, valkey.keys) as broker, subscriber() as endpoint:
        name = await broker.subscribe(endpoint.url)
        await active(broker, name)
        await broker.queue.drop(name)  # as if the process had ended between the two

        async def there() -> bool:
            return name in await broker.queue.states([name])

        await until(there, seconds=LONG)
        await tell(broker, 1, 1)
        await until(lambda: endpoint.numbers == [1], seconds=LONG)
