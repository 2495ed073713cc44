"""The French national health identity (INS): its 13 characters and their key (cds.md, section 4)."""

from __future__ import annotations

import re
from typing import Final

INS_NIR: Final = "urn:oid:1.2.250.1.213.1.4.8"
INS_NIA: Final = "urn:oid:1.2.250.1.213.1.4.9"
INS_NIR_TEST: Final = "urn:oid:1.2.250.1.213.1.4.10"
INS_NIR_DEMO: Final = "urn:oid:1.2.250.1.213.1.4.11"

_FIRST = re.compile(r"\d{5}(?:\d\d|2[AB])\d{6}", re.ASCII)


def ins_key(first13: str) -> str:
    """The two digits that go with the first 13 characters: 97 − (N mod 97), Corsica's 2A read 19 and 2B 18.

    Raises ValueError for anything but 13 digits, the sixth and seventh possibly `2A` or `2B`.
    """
    if _FIRST.fullmatch(first13) is None:
        raise ValueError("an INS begins with 13 digits; the sixth and seventh may be 2A or 2B")
    return f"{97 - int(first13.replace('2A', '19').replace('2B', '18')) % 97:02d}"


def is_valid_ins(value: str) -> bool:
    """Whether a value has the 15 characters of an INS and the right key."""
    try:
        return len(value) == 15 and ins_key(value[:13]) == value[13:]
    except ValueError:
        return False
