"""Create, update, delete and transaction: flux 1 and 4 of the guide (FHIR R4, http.html)."""

from __future__ import annotations

import orjson

from adapters.sandbox import bundles, transaction
from adapters.sandbox.exchange import Answer, Call, version_headers
from adapters.sandbox.reading import identity_of, kind_of
from adapters.sandbox.search import Searcher
from adapters.sandbox.store import Store, fhir_instant
from adapters.sandbox.writes import Writer, Written
from broker.core.outcome import language_of, outcome
from broker.core.preferences import Return
from broker.errors import Issue


class Writing:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, call: Call) -> Answer:
        kind, body = kind_of(call), await call.resource()
        writer = self._writer(call)
        written = writer.perform(writer.plan_create(kind, body, call.request.headers.get("If-None-Exist")))
        location = f"{call.base}/{written.version.location}"
        return _answer(call, written, {"Location": location, "Content-Location": location})

    async def update(self, call: Call) -> Answer:
        kind, body = kind_of(call), await call.resource()
        writer = self._writer(call)
        if_match = call.request.headers.get("If-Match")
        written = writer.perform(writer.plan_update(kind, call.request.match_info["id"], body, if_match))
        location = f"{call.base}/{written.version.location}"
        created = {"Location": location} if written.status == 201 else {}
        return _answer(call, written, created | {"Content-Location": location})

    async def delete(self, call: Call) -> Answer:
        version = self._store.delete(kind_of(call), identity_of(call))
        return Answer(204, headers={"ETag": version.etag})

    async def transaction(self, call: Call) -> Answer:
        body = await call.resource()
        done = transaction.run(body, self._writer(call), call.base)
        stored = _stored(call)
        entries = [
            bundles.transaction_entry(written, call.base, call.prefer.return_, stored) for written in done
        ]
        instant = fhir_instant(self._store.clock.now())
        return Answer(200, bundles.bundle("transaction-response", instant, entries))

    def _writer(self, call: Call) -> Writer:
        return Writer(self._store, Searcher(self._store, call.base))


def _answer(call: Call, written: Written, headers: dict[str, str]) -> Answer:
    """What was written, in the form the client prefers (FHIR R4, http.html#ops)."""
    headers = version_headers(written.version) | headers
    match call.prefer.return_:
        case Return.MINIMAL:
            return Answer(written.status, headers=headers)
        case Return.OPERATION_OUTCOME:
            return Answer(written.status, orjson.dumps(_stored(call)), headers)
        case _:
            return Answer(written.status, written.version.raw, headers)


def _stored(call: Call) -> dict[str, object]:
    language = language_of(call.request.headers.get("Accept-Language"))
    return outcome([Issue("write.stored")], language=language)
