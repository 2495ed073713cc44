"""Every text a client can be shown for an error or a warning: one table by area, French and English.

A row gives the HTTP status (where it ends a request), the FHIR issue severity and type, and both texts. Placeholders
are filled with parameter names, slugs, regions, limits: never with what identifies a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from broker.core.messages import (
    access,
    audit,
    configuration,
    console,
    federation,
    homes,
    limits,
    managers,
    registry,
    requests,
    subscriptions,
    synchronisation,
    transactions,
    write_bodies,
    writes,
)
from broker.core.messages.message import Message

__all__ = ["MESSAGES", "Message", "text"]


def _one_table(areas: Iterable[Mapping[str, Message]]) -> Mapping[str, Message]:
    table: dict[str, Message] = {}
    for rows in areas:
        twice = table.keys() & rows.keys()
        if twice:
            raise ValueError(f"texts given twice: {sorted(twice)}")
        table.update(rows)
    return table


MESSAGES: Mapping[str, Message] = _one_table(
    area.ROWS
    for area in (
        requests,
        write_bodies,
        writes,
        homes,
        transactions,
        federation,
        managers,
        registry,
        configuration,
        console,
        subscriptions,
        synchronisation,
        audit,
        access,
        limits,
    )
)


def text(key: str, language: str, **params: str | int | float) -> str:
    """The text of a row in `fr` or `en`, filled. A missing parameter shows as `?` rather than failing."""
    row = MESSAGES[key]
    template = row.fr if language == "fr" else row.en
    return template.format_map(_Lenient(params))


class _Lenient(dict[str, "str | int | float"]):
    def __missing__(self, key: str) -> str:
        return "?"
