"""All that was written and sent, to be searched: what is there by design is taken out first, each by one rule that says so.

- A replication topic and its dead letters carry circles: their values are left out, keys and headers are not.
- The trail of accesses holds queries in base64 and references: the query is decoded, and must be what was asked,
  byte for byte.
- The registry repeats to administrators names of managers and fields that they sent, a form of the
  console what was typed into it, a link `self` what was searched.
- Managers and subscribers get bodies: request lines and headers are looked at (the managers' own credentials and
  the conditions of `If-None-Exist` but for).
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import orjson
from redis import Redis

from broker.core.audit.event import MAX_QUERY
from tests.support.collector import spans_of
from tests.support.leak_world import Asked, LeakWorld
from tests.support.leaks import Source

_TOPICS = re.compile(rb"\{log:[^}]*\.(replication|dead-letters?)\.[^}]*\}")
_CONTENT = (b"v",)
_ID = re.compile(rb"(/fhir/[A-Z][A-Za-z]+/|/console/circle/)[A-Za-z0-9.-]{1,64}(?=[/?\s])")
"""What a client asked for by id is asked for by id, whatever the id is made of."""
_TYPED = re.compile(rb"<input [^>]*>")
_TOKEN = re.compile(rb"(access_token|csrf)=[^&]*")
_REQUEST_HEADERS = re.compile(rb"^(authorization|if-none-exist):.*$", re.IGNORECASE | re.MULTILINE)


def evidence(world: LeakWorld) -> list[Source]:
    """To be called when the broker and the agent have ended. Blocking."""
    return [
        *_logs(world),
        *_shown(world),
        *_answers(world),
        *_upstream(world),
        *_told(world),
        *_spans(world),
        *_redis(world),
        *_appended(world),
        *_files(world),
        *_trail(world),
    ]


def _logs(world: LeakWorld) -> Iterator[Source]:
    for name, program in (("broker", world.broker), ("agent", world.agent)):
        yield Source(f"log of the {name}", "\n".join(program.stderr).encode())


def _shown(world: LeakWorld) -> Iterator[Source]:
    for page in world.pages:
        yield Source("page", _headers(page.headers) + page.body)
    yield Source("process titles", b"\n".join(sorted(world.titles)))


def _answers(world: LeakWorld) -> Iterator[Source]:
    """Refusals whole, of other answers their headers, links to other pages, and outcomes."""
    for one in world.asked:
        answered, name = one.answered, f"answer {one.answered.status} to {one.method} {one.target[:60]}"
        yield Source(f"{name}, headers", _ID.sub(rb"\1", _headers(answered.headers)))
        if answered.status >= 400 or answered.status == 0:
            yield Source(name, _unnamed(world, one))
        elif answered.body.startswith(b"{"):
            yield Source(f"{name}, outcome and links", orjson.dumps([*_beside(orjson.loads(answered.body))]))


def _unnamed(world: LeakWorld, one: Asked) -> bytes:
    """A refusal; the registry repeats names of managers and of fields, to who administers it and sent them; a form of the
    console shows again what was typed into it."""
    if one.target.startswith("/console/") and one.answered.status == 422:
        assert one.answered.headers["Cache-Control"] == "no-store"
        return _TYPED.sub(b"", one.answered.body)
    if not one.target.startswith("/registry/gestionnaires"):
        return one.answered.body
    name = world.cast.given["path" if one.method == "GET" else "slug"]
    return one.answered.body.replace(name.encode(), b"")


def _headers(headers: Any) -> bytes:
    return "\n".join(f"{name}: {value}" for name, value in headers.items()).encode()


def _beside(body: dict[str, Any]) -> Iterator[Any]:
    """What an answer says beside the resources that were asked for. `self` repeats what was asked, to who did."""
    if body.get("resourceType") == "OperationOutcome":
        yield body
    yield from (
        link for link in body.get("link", ()) if isinstance(link, dict) and link.get("relation") != "self"
    )
    for entry in body.get("entry", ()):
        if isinstance(entry, dict):
            yield from (entry.get(name) for name in ("fullUrl", "request"))
            response = entry.get("response", {})
            yield response
            if entry.get("search", {}).get("mode") == "outcome":
                yield entry.get("resource")


def _upstream(world: LeakWorld) -> Iterator[Source]:
    for slug, proxy in world.proxies.items():
        heads = [one.raw.partition(b"\r\n\r\n")[0] for one in proxy.seen]
        lines = b"\n".join(head.partition(b"\r\n")[0] for head in heads)
        yield Source(f"addresses at {slug}", _ID.sub(rb"\1", lines))
        yield Source(
            f"headers at {slug}",
            b"\n".join(_REQUEST_HEADERS.sub(b"", head.partition(b"\r\n")[2]) for head in heads),
        )


def _told(world: LeakWorld) -> Iterator[Source]:
    yield Source("subscriber", b"\n".join(one.line for one in world.hook.told))
    yield Source("subscriber, told of ids alone", b"\n".join(one.body for one in world.hook.told))


def _spans(world: LeakWorld) -> Iterator[Source]:
    """As they were sent, and what was said with them."""
    sent: dict[str, list[bytes]] = {}
    for body in world.collector.bodies:
        sent.setdefault(str(spans_of(body)[0].resource["service.name"]), []).append(body)
    for service, bodies in sent.items():
        yield Source(f"spans of {service}", b"\n".join(bodies))
    yield Source("spans, headers", b"\n".join(_headers(one) for one in world.collector.headers))


def _redis(world: LeakWorld) -> Iterator[Source]:
    with Redis.from_url(world.valkey.url) as client:
        redis: Any = client  # redis-py types its commands as sync-or-async unions
        for key in redis.scan_iter(count=1000):
            yield Source("key in Redis", key)
            yield Source(f"Redis {key.decode(errors='replace')}", b"\n".join(_value(redis, key)))


def _value(redis: Any, key: bytes) -> Iterator[bytes]:
    match redis.type(key):
        case b"string":
            yield redis.get(key)
        case b"hash":
            yield from (part for pair in redis.hgetall(key).items() for part in pair)
        case b"list":
            yield from redis.lrange(key, 0, -1)
        case b"set":
            yield from redis.smembers(key)
        case b"zset":
            yield from redis.zrange(key, 0, -1)
        case b"stream":
            for _, fields in redis.xrange(key):
                yield from (
                    part for pair in fields.items() if not _is_by_design(key, pair[0]) for part in pair
                )
        case other:
            raise AssertionError(f"no way to read {other!r}")


def _is_by_design(key: bytes, name: bytes) -> bool:
    """A record's value, where it is a circle, or an AuditEvent, which is looked at apart."""
    return name in _CONTENT and (_TOPICS.search(key) is not None or b".audit}" in key)


def _appended(world: LeakWorld) -> Iterator[Source]:
    """Every change that the store was ever told of, also what is gone since."""
    for path in sorted((world.valkey.directory / "valkey" / "appendonlydir").iterdir()):
        if path.suffix == ".aof":
            yield Source(f"Redis, as it was written ({path.name})", b"\n".join(_written(path.read_bytes())))
    yield Source("Redis, log", (world.valkey.directory / "valkey" / "valkey.log").read_bytes())


def _written(data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        command, place = _command(data, place)
        if command[:1] == [b"XADD"]:
            key, rest = command[1], command[2:]
            dropped = {
                place + 1 for place, part in enumerate(rest) if part in _CONTENT and _is_by_design(key, part)
            }
            command = [b"XADD", key, *(part for place, part in enumerate(rest) if place not in dropped)]
        yield from command


def _command(data: bytes, place: int) -> tuple[list[bytes], int]:
    """One command in Redis' protocol, and where the next one begins; lines of the file's own are passed over."""
    end = data.index(b"\r\n", place)
    head = data[place:end]
    if not head.startswith(b"*"):
        return [head], end + 2
    place, found = end + 2, []
    for _ in range(int(head[1:])):
        end = data.index(b"\r\n", place)
        size = int(data[place + 1 : end])
        found.append(data[end + 2 : end + 2 + size])
        place = end + 2 + size + 2
    return found, place


def _files(world: LeakWorld) -> Iterator[Source]:
    for folder in ("data", "tmp"):
        for path in sorted((world.directory / folder).rglob("*")):
            yield Source("file name", str(path).encode())
            if path.is_file() and path.suffix != ".ndjson":
                yield Source(f"file {path.relative_to(world.directory)}", path.read_bytes())


def trail(world: LeakWorld) -> list[dict[str, Any]]:
    """The AuditEvents of the files and of the topic."""
    lines = [
        line
        for path in sorted((world.directory / "data").rglob("*.ndjson"))
        for line in path.read_bytes().splitlines()
    ]
    with Redis.from_url(world.valkey.url) as client:
        redis: Any = client
        for key in redis.scan_iter(match="*.audit}:*", _type="stream"):
            lines += [line for _, fields in redis.xrange(key) for line in fields[b"v"].splitlines()]
    return [orjson.loads(line) for line in lines]


def _trail(world: LeakWorld) -> Iterator[Source]:
    """But for who asked, references, and what was asked."""
    rest = []
    for event in trail(world):
        for entity in entities(event):
            entity.pop("query", None)
            if set(entity.get("what", {})) == {"reference"}:
                entity.pop("what")
        rest.append(orjson.dumps(event))
    yield Source("trail", b"\n".join(rest))


def entities(event: dict[str, Any]) -> list[dict[str, Any]]:
    found = event if "entity" in event else event.get("event", {})
    return list(found.get("entity", ()))


def queries(world: LeakWorld) -> list[bytes]:
    """What the trail says was asked, decoded."""
    return [
        b64decode(entity["query"])
        for event in trail(world)
        for entity in entities(event)
        if "query" in entity
    ]


def asked_as(one: Asked) -> set[bytes]:
    """What the trail may say of a request: its line, and behind it its form, up to where the trail cuts it."""
    if not one.method:  # sent as it is
        return {b" ".join(one.body.split(b" ", 2)[:2])[:MAX_QUERY]}
    line = f"{one.method} {one.target}".encode()
    # Of tokens it says that they came.
    return {_TOKEN.sub(rb"\1=", some)[:MAX_QUERY] for some in (line, b"%b\n\n%b" % (line, one.body))}
