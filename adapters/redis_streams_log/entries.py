"""Records as entries of a stream, and back."""

from __future__ import annotations

from collections.abc import Sequence

from broker.sync.change_log import Outgoing, Position, Record

_HEADER = "h:"


def fields(record: Outgoing) -> list[bytes | str]:
    """What follows the key, which the script writes itself. The value comes first where there is one."""
    told: list[bytes | str] = [] if record.value is None else ["v", record.value]
    for name, value in record.headers:
        told += [_HEADER + name, value]
    return told


def as_record(partition: int, entry: Sequence[object]) -> Record:
    """`entry`: the id, then fields and values by turns, as Redis gives them."""
    name, told = entry
    assert isinstance(name, bytes)  # noqa: S101  # for the type checker
    assert isinstance(told, list)  # noqa: S101
    pairs = list(zip(told[::2], told[1::2], strict=True))
    of = dict(pairs)
    return Record(
        key=of[b"k"],
        value=of.get(b"v"),
        headers=tuple(
            (field[len(_HEADER) :].decode(), value)
            for field, value in pairs
            if field.startswith(_HEADER.encode())
        ),
        position=Position(partition, name.decode()),
        at=int(name.partition(b"-")[0]) / 1000,
    )
