"""What recognising a client asks of the world."""

from __future__ import annotations

from typing import Protocol

from broker.core.access.claims import Payload


class Tokens(Protocol):
    """Access tokens of one kind, proven to be the issuer's."""

    async def payload(self, token: str) -> Payload:
        """The claims of a token, none of them judged. Raises `AccessError`: 401 where the token is not the issuer's, 503
        where that cannot be known now."""
        ...
