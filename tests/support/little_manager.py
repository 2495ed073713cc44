"""A manager in memory, behind the `ManagerClient` port, that loses what a test wants lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from broker.core.manager_failure import failed
from broker.errors import FailureKind
from broker.ports import ManagerAnswer, ManagerRequest
from registry.model import Gestionnaire

Json = dict[str, Any]


@dataclass
class LittleManager:
    """Creates, updates, reads, and searches by `identifier` and `subject`.

    `lose`: the next write is done, and its answer lost. `keep_back`: it is not done, and its answer lost; `deliver` does
    what was kept back. `refuse`: nothing leaves. `down`: nothing is answered.
    """

    held: dict[str, list[Json]] = field(default_factory=dict)
    lose: bool = False
    keep_back: bool = False
    refuse: bool = False
    down: bool = False
    kept: list[ManagerRequest] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)

    async def send(self, manager: Gestionnaire, request: ManagerRequest, *, timeout: float) -> ManagerAnswer:  # noqa: ASYNC109
        if self.refuse:
            raise failed(manager, FailureKind.UNREACHABLE, sent=False)
        if self.down:
            raise failed(manager, FailureKind.TIMEOUT)
        if request.form is not None:
            return self._searched(request.target.partition("/")[0], dict(request.form))
        if request.method == "GET":
            return self._read(request.target)
        if self.keep_back:
            self.keep_back = False
            self.kept.append(request)
            raise failed(manager, FailureKind.TIMEOUT)
        answer = self._written(request)
        if self.lose:
            self.lose = False
            raise failed(manager, FailureKind.UNREACHABLE)
        return answer

    def deliver(self) -> None:
        while self.kept:
            self._written(self.kept.pop(0))

    def current(self, reference: str) -> Json:
        return self.held[reference][-1]

    def of_type(self, resource_type: str) -> list[Json]:
        return [versions[-1] for key, versions in self.held.items() if key.startswith(resource_type + "/")]

    def _written(self, request: ManagerRequest) -> ManagerAnswer:
        self.writes.append(f"{request.method} {request.target}")
        content = orjson.loads(request.body or b"{}")
        kind, _, local = request.target.partition("/")
        local = local or f"n{len(self.held) + 1}"
        versions = self.held.setdefault(f"{kind}/{local}", [])
        number = len(versions) + 1
        meta = content.get("meta", {}) | {
            "versionId": str(number),
            "lastUpdated": f"2026-01-01T00:00:{number:02d}Z",
        }
        versions.append({**content, "resourceType": kind, "id": local, "meta": meta})
        return _answer(201 if number == 1 else 200, versions[-1])

    def _read(self, target: str) -> ManagerAnswer:
        path, _, history = target.partition("/_history")
        versions = self.held.get(path)
        if versions is None:
            return _answer(404, {"resourceType": "OperationOutcome", "issue": []})
        if target.endswith("/_history"):
            return _answer(200, _bundle("history", list(reversed(versions))))
        return _answer(200, versions[int(history[1:]) - 1] if history else versions[-1])

    def _searched(self, kind: str, form: Mapping[str, str]) -> ManagerAnswer:
        found = [one for one in self.of_type(kind) if _matches(one, form)]
        return _answer(200, _bundle("searchset", found))


def _matches(resource: Json, form: Mapping[str, str]) -> bool:
    tokens = {f"{one.get('system')}|{one.get('value')}" for one in resource.get("identifier", ())}
    if "identifier" in form and not tokens & set(form["identifier"].split(",")):
        return False
    subject = resource.get("subject", {}).get("reference")
    return "subject" not in form or subject == form["subject"]


def _bundle(kind: str, resources: list[Json]) -> Json:
    entries = [
        {"resource": one, "search": {"mode": "match"}, "request": {"method": "PUT", "url": "x"}}
        for one in resources
    ]
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


def _answer(status: int, body: Json) -> ManagerAnswer:
    return ManagerAnswer(status, {"content-type": "application/fhir+json"}, orjson.dumps(body), 0.0)
