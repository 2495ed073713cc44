"""A `.http` file, as an editor's REST client runs it: variables, named requests, what of their answers goes into later ones.

What is known of the format: `###` between requests, `# @name`, `@variable = value`, `{{variable}}`,
`{{name.response.body.$.path}}`, `{{name.response.headers.Name}}`; and, for tests, `# expect STATUS [text]`: the status, and
a text that is in the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

_VARIABLE = re.compile(r"@([A-Za-z]\w*)\s*=\s*(.*)")
_NAME = re.compile(r"(?:#|//)\s*@name\s+(\w+)")
_EXPECT = re.compile(r"(?:#|//)\s*expect\s+(\d{3})(?:\s+(.+))?")
_PLACE = re.compile(r"\{\{([^{}]+)\}\}")
_STEP = re.compile(r"(\w+)|\[(\d+)\]")


@dataclass(frozen=True)
class Request:
    """As it stands in the file, its places unfilled. `title`: behind the `###`; `line`: of the request line, from 1."""

    title: str
    line: int
    name: str | None
    status: int | None
    text: str | None
    method: str
    target: str
    headers: Mapping[str, str]
    body: str
    variables: Mapping[str, str]  # given just before


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: str


def requests(text: str) -> Iterator[Request]:
    """In the order of the file. Raises `ValueError` for a part that is neither a request nor comments and variables."""
    title, begun, part = "", 1, []
    for number, line in enumerate([*text.splitlines(), "###"], 1):
        if not line.startswith("###"):
            part.append(line)
            continue
        yield from _request(title, begun, part)
        title, begun, part = line.removeprefix("###").strip(), number + 1, []


def _request(title: str, begun: int, part: list[str]) -> Iterator[Request]:
    variables, name, status, text = {}, None, None, None
    for offset, line in enumerate(part):
        if found := _VARIABLE.fullmatch(line):
            variables[found[1]] = found[2].strip()
        elif found := _NAME.fullmatch(line):
            name = found[1]
        elif found := _EXPECT.fullmatch(line):
            status, text = int(found[1]), found[2]
        elif line.strip() and not line.startswith(("#", "//")):
            method, _, target = line.partition(" ")
            if not re.fullmatch(r"[A-Z]+", method):
                raise ValueError(f"line {begun + offset}: no request: {line}")
            head, _, body = "\n".join(part[offset + 1 :]).partition("\n\n")
            headers = dict(one.split(": ", 1) for one in head.splitlines() if one.strip())
            at = begun + offset
            yield Request(title, at, name, status, text, method, target, headers, body.strip(), variables)
            return
    if variables:
        yield Request(title, begun, None, None, None, "", "", {}, "", variables)


@dataclass
class Runner:
    """Sends the requests of a file one by one. `variables` of the file may be given others before."""

    http: aiohttp.ClientSession
    given: Mapping[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)

    async def run(self, request: Request) -> Answer | None:
        """None for a part of variables alone. What was expected is checked: raises `AssertionError`."""
        for name, value in request.variables.items():
            self.variables[name] = self.given.get(name, value)
        if not request.method:
            return None
        headers = {name: self.filled(value) for name, value in request.headers.items()}
        body = self.filled(request.body)
        async with self.http.request(
            request.method, self.filled(request.target), headers=headers, data=body or None
        ) as answered:
            answer = Answer(answered.status, answered.headers, await answered.text())
        if request.name is not None:
            self.answers[request.name] = answer
        where = f"line {request.line}: {request.method} {request.target}: {answer.status} {answer.body[:600]}"
        assert answer.status == request.status, where
        if request.text is not None:
            assert self.filled(request.text) in answer.body, where
        return answer

    def filled(self, text: str) -> str:
        while (found := _PLACE.search(text)) is not None:
            text = text[: found.start()] + self._value(found[1].strip()) + text[found.end() :]
        return text

    def _value(self, place: str) -> str:
        if place in self.variables:
            return self.variables[place]
        name, _, path = place.partition(".response.")
        answer = self.answers[name]
        if path.startswith("headers."):
            return answer.headers[path.removeprefix("headers.")]
        value: Any = json.loads(answer.body)
        for found in _STEP.finditer(path.removeprefix("body.$")):
            value = value[found[1]] if found[2] is None else value[int(found[2])]
        return str(value)
