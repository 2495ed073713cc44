"""Managers that each hold the circle of one person, and say nothing of anybody else: who is asked can be counted.

They understand what feeds the index (see `canned_crawl`), and a search by the identifier of a person.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from tests.benchmarks.canned_crawl import Crawled, _instant
from tests.benchmarks.canned_managers import MANAGERS, Serving, _listen, answer
from tests.benchmarks.children import main, say, serve_commands

SYSTEM = "urn:oid:1.2.250.1.213.1.4.10"
NOBODY = answer(b'{"resourceType":"Bundle","type":"searchset","total":0}')


def person(number: int) -> str:
    """The identifier of the person whose circle manager `number` holds, as a token."""
    return f"{SYSTEM}|INS-{number:09}"


class Holder(Crawled):
    """The manager of one circle. `searches`: by a person's identifier, so far."""

    def __init__(self, number: int) -> None:
        super().__init__(1)
        own = {b"number": b"%09d" % number, b"instant": _instant(number)}
        self.circle, self.patient, self.patient_alone = (
            (template % own).replace(b"%", b"%%")
            for template in (self.circle, self.patient, self.patient_alone)
        )
        self.person = person(number)
        self.searches = 0
        self._alone = answer(self._bundle("searchset", 0, 1, 1, self.circle))
        self._with_patient = answer(self._bundle("searchset", 0, 1, 1, self.circle, self.patient))

    def reply(self, request: bytes) -> bytes:
        _, _, body = request.partition(b"\r\n\r\n")
        if b"patient.identifier=" not in body:
            return super().reply(request)
        self.searches += 1
        values = dict(parse_qsl(body.decode()))
        if values["patient.identifier"] != self.person:
            return NOBODY
        return self._with_patient if "_include" in values else self._alone


class Hanging(Serving):
    """One connection to a manager that may be told to answer nobody any more. It says so by `hung` of the class."""

    hung: ClassVar[set[int]] = set()

    def __init__(self, manager: Holder, number: int) -> None:
        super().__init__(manager)
        self._number = number

    def data_received(self, data: bytes) -> None:
        if self._number not in self.hung:
            super().data_received(data)


async def work(_: Any) -> None:
    holders = [Holder(number) for number in range(MANAGERS)]
    say({"bases": [await _listen(partial(Hanging, one, number)) for number, one in enumerate(holders)]})
    await serve_commands(
        {
            "searches": lambda _: sum(one.searches for one in holders),
            "hang": lambda number: Hanging.hung.add(int(number)),
        }
    )


if __name__ == "__main__":
    main(work)
