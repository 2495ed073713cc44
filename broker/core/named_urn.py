"""A `urn:uuid:` for a text, always the same one: version 8 of RFC 9562 (5.8), made of the SHA-256 of the text. Pure."""

from __future__ import annotations

import hashlib


def urn_of(text: bytes) -> str:
    digest = hashlib.sha256(text).hexdigest()
    return f"urn:uuid:{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
