"""What an answer of 401 or 403 asks for: `WWW-Authenticate` (RFC 9110, section 11.6.1; RFC 6750, section 3)."""

from __future__ import annotations

import re
from typing import Final

from broker.core.messages import text
from broker.errors import AccessError

REALM: Final = "cds-broker"

_UNSAID = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")
"""What RFC 6750 does not allow in a quoted attribute."""

BEARER: Final = f'Bearer realm="{REALM}"'
"""Where no credentials came: without an error code, as RFC 6750 says."""

CERTIFICATE: Final = f'Certificate realm="{REALM}"'
"""RFC 9110 wants a scheme in every 401; none is registered for a certificate alone, so this name is ours."""


def bearer(error: str, description: str, *, scope: str | None = None) -> str:
    """The challenge of a refused token. `error`: a code of RFC 6750, section 3.1. `scope`: what would have been needed."""
    said = f'{BEARER}, error="{error}", error_description="{_UNSAID.sub("?", description)}"'
    return said if scope is None else f'{said}, scope="{_UNSAID.sub("?", scope)}"'


def no_token() -> AccessError:
    return AccessError("access.missing", challenge=BEARER)


def refused(
    key: str, /, *, error: str = "invalid_token", scope: str | None = None, **params: str | int | float
) -> AccessError:
    """A row of the table of texts as the refusal of a token, with its challenge."""
    challenge = bearer(error, text(key, "en", **params), scope=scope)
    return AccessError(key, challenge=challenge, **params)


def bad_certificate(key: str) -> AccessError:
    """The refusal of a certificate that is all the client shows."""
    return AccessError(key, challenge=CERTIFICATE)
