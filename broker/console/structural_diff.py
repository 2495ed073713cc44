"""What changed between two JSON trees, exactly: applied to the old one, it gives the new one. Pure.

Of lists the items are paired first, by what names them (a member's reference, an identifier's system and value…), in
order: an item that moved past another was removed and added. The place of an addition is its index in the new list,
that of a removal its index in the old one; a change inside an item that stays is told at its index in the new list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any

import orjson

Path = tuple[str | int, ...]


class Kind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Change:
    """`old`: of what was removed or replaced. `new`: of what was added or replaced."""

    kind: Kind
    path: Path
    old: Any = None
    new: Any = None


def changes(old: Any, new: Any) -> list[Change]:
    return list(_changes((), old, new))


def applied(old: Any, told: Iterable[Change]) -> Any:
    """The new tree. `told`: as `changes` gives it for this old one."""
    return _applied(old, [(one.path, one) for one in told])


def _changes(path: Path, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _of_objects(path, old, new)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_lists(path, old, new)
    elif _text(old) != _text(new):
        yield Change(Kind.REPLACED, path, old, new)


def _of_objects(path: Path, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    for name, value in old.items():
        if name not in new:
            yield Change(Kind.REMOVED, (*path, name), old=value)
        else:
            yield from _changes((*path, name), value, new[name])
    for name, value in new.items():
        if name not in old:
            yield Change(Kind.ADDED, (*path, name), new=value)


def _of_lists(path: Path, old: list[Any], new: list[Any]) -> Iterator[Change]:
    before, after = [_named(one) for one in old], [_named(one) for one in new]
    for tag, start, end, at, to in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            for left, right in zip(range(start, end), range(at, to), strict=True):
                yield from _changes((*path, right), old[left], new[right])
            continue
        for left in range(start, end):
            yield Change(Kind.REMOVED, (*path, left), old=old[left])
        for right in range(at, to):
            yield Change(Kind.ADDED, (*path, right), new=new[right])


def _named(item: Any) -> bytes:
    """What an item of a list is recognised by; the whole of it where nothing names it."""
    if not isinstance(item, dict):
        return _text(item)
    member = item.get("member")
    if isinstance(member, dict) and "reference" in member:
        return _text(["member", member["reference"]])
    for names in (("system", "value"), ("system", "code"), ("url",), ("reference",)):
        if all(name in item for name in names):
            return _text([[name, item[name]] for name in names])
    return _text(item)


def _text(value: Any) -> bytes:
    """Equal only for equal JSON: 1, 1.0 and true are three values."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


_Told = Sequence[tuple[Path, Change]]


def _applied(old: Any, told: _Told) -> Any:
    """`told`: changes with what is left of their paths from here."""
    if not told:
        return old
    if told[0][0] == ():
        return told[0][1].new
    return _object(old, told) if isinstance(old, dict) else _list(old, told)


def _object(old: dict[str, Any], told: _Told) -> dict[str, Any]:
    made = dict(old)
    inner: dict[str, list[tuple[Path, Change]]] = defaultdict(list)
    for path, change in told:
        name = str(path[0])
        if len(path) > 1 or change.kind is Kind.REPLACED:
            inner[name].append((path[1:], change))
        elif change.kind is Kind.REMOVED:
            del made[name]
        else:
            made[name] = change.new
    for name, deeper in inner.items():
        made[name] = _applied(old[name], deeper)
    return made


def _list(old: list[Any], told: _Told) -> list[Any]:
    gone = {path[0] for path, change in told if len(path) == 1 and change.kind is Kind.REMOVED}
    added = {
        int(path[0]): change.new for path, change in told if len(path) == 1 and change.kind is Kind.ADDED
    }
    inner: dict[int, list[tuple[Path, Change]]] = defaultdict(list)
    for path, change in told:
        if len(path) > 1 or change.kind is Kind.REPLACED:
            inner[int(path[0])].append((path[1:], change))
    kept = iter([one for place, one in enumerate(old) if place not in gone])
    return [
        added[place] if place in added else _applied(next(kept), inner.get(place, []))
        for place in range(len(old) - len(gone) + len(added))
    ]
