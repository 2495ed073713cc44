"""What is read of a client's certificate (X.509, RFC 5280; names as RFC 4514 writes them). Pure.

That it is trusted and that its key is held was proven before, in the TLS handshake.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import Name

MAX_BYTES = 32_768
"""Of a certificate in a header; none is as long."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """`sha256`: of the DER form. Names compare by their attributes, however they were encoded."""

    sha256: bytes
    subject: Name
    issuer: Name
    not_before: dt.datetime
    not_after: dt.datetime

    def valid_at(self, instant: dt.datetime) -> bool:
        return self.not_before <= instant <= self.not_after


def read_certificate(der: bytes) -> Certificate:
    """Raises `ValueError` where it is none."""
    try:
        read = x509.load_der_x509_certificate(der)
        return Certificate(
            hashlib.sha256(der).digest(),
            read.subject,
            read.issuer,
            read.not_valid_before_utc,
            read.not_valid_after_utc,
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):  # all that the library says of foreign bytes
        raise ValueError("no certificate") from None


def thumbprint(der: bytes) -> str:
    """`x5t#S256` (RFC 8705, section 3.1): base64url of the SHA-256 of the DER form, without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode("ascii")


def der_of_pem(pem: str) -> bytes:
    """The one certificate of a PEM text. Raises `ValueError` where there is none, or more."""
    text = pem.strip()
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if (
        len(text) > MAX_BYTES
        or not text.startswith(begin)
        or not text.endswith(end)
        or text.count("-----") != 4
    ):
        raise ValueError("not one PEM certificate")
    try:
        return base64.b64decode("".join(text[len(begin) : -len(end)].split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None


def name_of(text: str) -> Name:
    """A distinguished name as RFC 4514 writes it (`CN=dmp,O=GCS,C=FR`). Raises `ValueError`."""
    try:
        name = Name.from_rfc4514_string(text)
    except ValueError:
        raise ValueError("not a distinguished name") from None
    if not list(name):
        raise ValueError("an empty name")
    return name
