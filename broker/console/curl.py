"""A search as the command that asks the broker for it: by POST, so that no identity is in an address. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def curl(public_base: str, resource_type: str, pairs: Sequence[tuple[str, str]], *, token: bool) -> str:
    """`token`: whether the broker wants to know who asks; the command takes it from the environment."""
    lines = [f"curl -sS -X POST {shlex.quote(f'{public_base}/{resource_type}/_search')}"]
    lines += ['-H "Authorization: Bearer $TOKEN"'] if token else []
    lines.append("-H 'Accept: application/fhir+json'")
    lines += [f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in pairs]
    return " \\\n  ".join(lines)
