"""A transaction's entries as the steps of its intent, and what became of them where the manager did not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from broker.core.business_identifier import strongest_identifier
from broker.core.entry import Entry
from broker.core.transaction_answer import WrittenEntry
from broker.core.transaction_model import TransactionEntry
from broker.federation.writing.errand import Errand
from broker.federation.writing.evidence import Found, content_digest, what_became
from broker.federation.writing.records import Intent, Step, stated_identifiers


def steps_of(
    entries: Sequence[TransactionEntry], resources: Sequence[bytes], before: Mapping[int, Entry]
) -> tuple[tuple[Step, ...], int]:
    """What each entry does, and which of them tells whether all was done: a circle that is made, else what is updated
    (an actor that is made may have been there before).

    `resources`: of the entries, as the manager is sent them. `before`: what is updated, by the entry's index.
    """
    steps = tuple(
        _step(entry, resource, before.get(entry.index))
        for entry, resource in zip(entries, resources, strict=True)
    )
    ranks = [
        (0 if step.type == "CareTeam" and step.local_id is None else 1 if step.local_id else 2, index)
        for index, step in enumerate(steps)
    ]
    return steps, min(ranks)[1]


def _step(entry: TransactionEntry, resource: bytes, before: Entry | None) -> Step:
    loose = b'"urn:' in resource
    content = content_digest(resource, loose=loose)
    if before is not None:
        return Step(entry.type, before.local_id, before.version_id, None, content, loose)
    stated = stated_identifiers(entry.resource.get("identifier"))
    identifier = strongest_identifier(dict(entry.resource)) or (stated[0] if stated else None)
    return Step(entry.type, identifier=identifier, content=content, loose=loose)


async def steps_written(intent: Intent, errand: Errand) -> list[WrittenEntry] | None:
    """What became of each entry of a transaction that was not answered; None where one of them does not show."""
    written = []
    for index, step in enumerate(intent.steps):
        found = await what_became(step, errand)
        if found is None:
            return None
        written.append(_as_written(index, found))
    return written


def _as_written(index: int, found: Found) -> WrittenEntry:
    entry = found.entry
    return WrittenEntry(
        index,
        entry.type,
        entry.local_id,
        entry.public_id,
        "201 Created" if found.created else "200 OK",
        entry.version_id,
        f'W/"{entry.version_id}"' if entry.version_id else None,
        entry.last_updated,
        entry,
    )
