"""The part of YAML that this repository's own files are written in, read strictly: anything else fails.

Mappings and lists in block style, indented by two; scalars plain or in double quotes; folded texts (`>-`); comments on
lines of their own. A plain scalar is a text, a whole number, `true` or `false`; anything else that YAML would take for
something must be quoted or not be there.
"""

from __future__ import annotations

import json
import re
from typing import Any

_KEY = re.compile(r'("(?:[^"\\]|\\.)*"|[A-Za-z_$][\w$.\-/]*):(?: (.*))?')
_NOT_TEXT = re.compile(r"(?i:true|false|yes|no|null|~|[-+.]?\d+(\.\d*)?)")
_SPECIAL = re.compile(r"[\[\]{}&*!|%@`'#,]|.*(: | #)")


def read_yaml(text: str) -> Any:
    """Raises `ValueError` with the number of the line."""
    lines = [
        (number, len(line) - len(line.lstrip()), line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    reader = _Reader(lines)
    found = reader.block(0)
    if reader.place < len(lines):
        raise ValueError(f"line {lines[reader.place][0]}: indentation")
    return found


class _Reader:
    def __init__(self, lines: list[tuple[int, int, str]]) -> None:
        self.lines = lines
        self.place = 0

    def block(self, indent: int) -> Any:
        return self._list(indent) if self._at(indent, "- ") else self._mapping(indent)

    def _at(self, indent: int, start: str = "") -> bool:
        if self.place == len(self.lines):
            return False
        _, depth, text = self.lines[self.place]
        return depth == indent and text.startswith(start)

    def _list(self, indent: int) -> list[Any]:
        found: list[Any] = []
        while self._at(indent, "- "):
            number, _, text = self.lines[self.place]
            if _KEY.fullmatch(text[2:]):  # a mapping, whose first member stands behind the dash
                self.lines[self.place] = (number, indent + 2, text[2:])
                found.append(self._mapping(indent + 2))
                continue
            self.place += 1
            found.append(_scalar(text[2:], number))
        return found

    def _mapping(self, indent: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._at(indent):
            number, _, text = self.lines[self.place]
            match = _KEY.fullmatch(text)
            key = None if match is None else match[1].strip('"')
            if match is None or key is None or key in found:
                raise ValueError(f"line {number}: a member, named once, is expected")
            self.place += 1
            found[key] = self._value(match[2], indent, number)
        if not found:
            raise ValueError("nothing where something is expected")
        return found

    def _value(self, text: str | None, indent: int, number: int) -> Any:
        if text is None:
            return self.block(indent + 2)
        if text == ">-":
            folded = []
            while self._at(indent + 2):
                folded.append(self.lines[self.place][2])
                self.place += 1
            return " ".join(folded)
        return _scalar(text, number)


def _scalar(text: str, number: int) -> Any:
    if text.startswith('"'):
        return json.loads(text)
    if _NOT_TEXT.fullmatch(text):
        return json.loads(text) if text.isdigit() or text in ("true", "false") else _fail(number)
    return _fail(number) if _SPECIAL.match(text) else text


def _fail(number: int) -> Any:
    raise ValueError(f"line {number}: no plain text")
