"""A manager with very many circles, as cheap as can be: entries filled into prebuilt bytes as they are asked for.

It understands what a crawl and a feed ask: `_lastUpdated=ge…` with `_sort`, `_count` and the Patient included. Circle
number n was changed n milliseconds after the first; nothing changes any more.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tests.benchmarks.bench_merge import _circle
from tests.benchmarks.canned_managers import Manager, Serving, answer
from tests.benchmarks.children import main, say, serve_commands

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LARGEST_PAGE = 500

_NUMBER, _INSTANT = "424242424", "2001-02-03T04:05:06.789Z"


def _template(resource: dict[str, Any], mode: str) -> bytes:
    """The entry of a resource, with `%(number)b` and `%(instant)b` in it."""
    resource["meta"] = {"versionId": "1", "lastUpdated": _INSTANT}
    entry = orjson.dumps({"resource": resource, "search": {"mode": mode}}).replace(b"%", b"%%")
    return entry.replace(_NUMBER.encode(), b"%(number)b").replace(_INSTANT.encode(), b"%(instant)b")


class Crawled(Manager):
    """What the manager of `circles` circles answers."""

    def __init__(self, circles: int) -> None:  # of the other managers' nothing is used
        circle, patient = _circle(int(_NUMBER), random.Random(7), 0)[:2]
        patient["identifier"] = [
            {"system": "urn:oid:1.2.250.1.213.1.4.10", "value": f"INS-{_NUMBER}"},
            {"system": "urn:oid:1.2.250.1.999.7", "value": f"IPP-{_NUMBER}"},
        ]
        self.circles = circles
        self.circle, self.patient = _template(circle, "match"), _template(patient, "include")
        self.patient_alone = self.patient.replace(b'"include"', b'"match"')
        self.size = len(self.circle) + len(self.patient)

    def reply(self, request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        target = head.split(b" ", 2)[1].decode()
        path, _, query = target.partition("?")
        values = dict(parse_qsl(query) + parse_qsl(body.decode()))
        since = values.get("_since") or values.get("_lastUpdated")
        count = int(values.get("_count", "20"))
        if path.endswith("CareTeam/_history"):
            return answer(self._bundle("history", *self._from(since, 1), self.circle))
        if "patient" in values:
            last = int(values["patient"].rpartition("-")[2])
            return answer(self._bundle("searchset", last, last + 1, 1, self.circle, self.patient))
        if "Patient" in path:
            return answer(self._bundle("searchset", *self._from(since, 1), self.patient_alone))
        return answer(self._bundle("searchset", *self._from(since, count), self.circle, self.patient))

    def _from(self, since: str | None, count: int) -> tuple[int, int, int]:
        """The circles of a page, the first and the one behind the last, and how many there are in all."""
        if since is None:
            first = self.circles - 1 if count == 1 else 0
            return first, min(first + min(count, LARGEST_PAGE), self.circles), self.circles
        gone = dt.datetime.fromisoformat(since.removeprefix("ge")) - START
        first = min(max(0, round(gone / dt.timedelta(milliseconds=1))), self.circles - 1)
        if count == 1:
            first = self.circles - 1  # of its feeds the end alone is asked
        return first, min(first + min(count, LARGEST_PAGE), self.circles), self.circles - first

    def _bundle(self, kind: str, first: int, last: int, total: int, *templates: bytes) -> bytes:
        entries = b",".join(
            template % {b"number": b"%09d" % number, b"instant": _instant(number)}
            for number in range(first, last)
            for template in templates
        )
        head = b'{"resourceType":"Bundle","type":"%b","total":%d,"entry":[' % (kind.encode(), total)
        return head + entries + b"]}"


def _instant(number: int) -> bytes:
    instant = START + dt.timedelta(milliseconds=number)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


async def work(argument: Any) -> None:
    crawled = Crawled(int(argument["circles"]))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Serving, crawled), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    say({"base": f"http://127.0.0.1:{port}/fhir", "circle_bytes": crawled.size})
    await serve_commands()


if __name__ == "__main__":
    main(work)
