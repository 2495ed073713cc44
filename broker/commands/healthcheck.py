"""`python -m broker.commands.healthcheck [URL]`: whether what runs in this container answers; for the engine that asks.

Asks `/health/ready` of the broker that the environment's `CDS_HOST`, `CDS_PORT` and `CDS_TLS_CERT` tell of, or the given
address. Exits 0 where a good answer comes within 3 seconds, else 1. The standard library only: it is started every few
seconds. The certificate is not checked: it is the broker beside it that is asked, and nothing is sent.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

SECONDS = 3.0
_ANY = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what is listened on, not listening


def address(environment: Mapping[str, str]) -> str:
    """Of the readiness of the broker that these settings make."""
    host = environment.get("CDS_HOST", "").strip("[]")
    host = _ANY.get(host, host)
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if environment.get("CDS_TLS_CERT") else "http"
    return f"{scheme}://{shown}:{environment.get('CDS_PORT') or 8080}/health/ready"


def answers(url: str) -> bool:
    """Whether a GET of it is answered with 200."""
    parts = urlsplit(url)
    connection: HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = HTTPSConnection(parts.hostname or "", parts.port, timeout=SECONDS, context=context)
    else:
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    return 0 if answers(arguments[0] if arguments else address(os.environ)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
