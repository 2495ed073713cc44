"""Who a resource is across the federation: `{slug}.{id at the manager}` (federation, section 1).

A public id is split on its **first** dot, so ids nest when a broker is registered in another (`nat.bre.123`).
FHIR R4 bounds an id to 64 characters. Where the public id would be longer, an **alias** stands for it:
`{slug}.alias--` and 40 hexadecimal digits of the SHA-256 of the long public id, the same on every node and
after a restart. A digest cannot be undone, so every alias made is written down in the `aliases` mapping
(alias → id at the manager) that the caller keeps. An id that already looks like an alias gets one too: what
looks like an alias always is one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

import orjson

from registry.model import SLUG, TRE_R30

ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9\-.]{1,64}")
"""FHIR R4 id. `.` and `..` are left out: in a URL they would climb out of the manager's base (RFC 3986,
5.2.4)."""

MAX_ID = 64
ALIAS_MARK = "alias--"
_ALIAS = re.compile(re.escape(ALIAS_MARK) + r"[0-9a-f]{40}")
_MARK = ALIAS_MARK.encode()


@dataclass(frozen=True, slots=True)
class Origin:
    """A manager as its answers are rewritten for: its address and ours, without a trailing slash.

    `region` is a TRE_R30 code. The `bytes` fields are made from the others, ready to be spliced into JSON
    text.
    """

    slug: str
    base_url: str
    public_base: str
    region: str
    name: str = ""
    prefix: bytes = field(init=False, repr=False, compare=False)
    base: bytes = field(init=False, repr=False, compare=False)
    public: bytes = field(init=False, repr=False, compare=False)
    source_member: bytes = field(init=False, repr=False, compare=False)
    tag: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        derived = {
            "base_url": self.base_url.rstrip("/"),
            "public_base": self.public_base.rstrip("/"),
            "prefix": f"{self.slug}.".encode(),
            "base": _inside_json(self.base_url.rstrip("/") + "/"),
            "public": _inside_json(self.public_base.rstrip("/") + "/"),
            "source_member": b'"source":"' + _inside_json(self.base_url.rstrip("/")) + b'"',
            "tag": orjson.dumps({"system": TRE_R30, "code": self.region}),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)


def _inside_json(text: str) -> bytes:
    return orjson.dumps(text)[1:-1]


def public_id(slug: str, local_id: str, aliases: dict[str, str] | None = None) -> str:
    """The public id of a manager's own id; an alias where needed, then written down in `aliases`.

    `local_id` must keep the FHIR rule (`ID`): `ValueError` otherwise.
    """
    if ID.fullmatch(local_id) is None:
        raise ValueError("not a FHIR id")
    whole = f"{slug}.{local_id}"
    if len(whole) <= MAX_ID and not local_id.startswith(ALIAS_MARK):
        return whole
    alias = f"{slug}.{ALIAS_MARK}{hashlib.sha256(whole.encode()).hexdigest()[:40]}"
    if aliases is not None:
        aliases[alias] = local_id
    return alias


def public_id_bytes(origin: Origin, local_id: bytes, aliases: dict[str, str] | None) -> bytes:
    """`public_id` over bytes that are known to keep the FHIR rule."""
    if len(local_id) + len(origin.prefix) <= MAX_ID and not local_id.startswith(_MARK):
        return origin.prefix + local_id
    return public_id(origin.slug, local_id.decode(), aliases).encode()


def split_public_id(public_id: str) -> tuple[str, str] | None:
    """(slug, id at the manager or what stands for it); None where it is no public id.

    An alias is given back as its second part: see `is_alias`.
    """
    slug, dot, local = public_id.partition(".")
    if not dot or len(public_id) > MAX_ID or SLUG.fullmatch(slug) is None or ID.fullmatch(local) is None:
        return None
    return slug, local


def is_alias(public_id: str) -> bool:
    """Whether a public id is an alias, to be resolved before its manager can be asked."""
    parts = split_public_id(public_id)
    return parts is not None and _ALIAS.fullmatch(parts[1]) is not None
