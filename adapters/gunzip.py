"""Gzip unfolded in small steps under a bound: a bomb costs no more than an honest body of that size."""

from __future__ import annotations

import zlib

_STEP = 64 * 1024
_MAX_MEMBERS = 32  # each new one copies what follows it: unbounded, tiny members would cost quadratic time


class TooLargeError(Exception):
    """The body passes the bound."""


class UndecodableError(Exception):
    """The body is not what its content coding says."""


class Gunzip:
    """Gzip (RFC 1952) in bounded steps. Raises `TooLargeError`, `UndecodableError`."""

    __slots__ = ("_inflate", "_limit", "_members", "_parts", "_pending", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inflate = zlib.decompressobj(wbits=31)
        self._members = 1
        self._parts: list[bytes] = []
        self._pending = b""
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._pending = data

    def step(self) -> bool:
        """Decompress a little; True while something of what was fed is left."""
        if self._inflate.eof:
            self._members += 1
            if self._members > _MAX_MEMBERS:
                raise UndecodableError
            self._inflate = zlib.decompressobj(wbits=31)
        try:
            out = self._inflate.decompress(self._pending, _STEP)
        except zlib.error:
            raise UndecodableError from None
        self._size += len(out)
        if self._size > self._limit:
            raise TooLargeError
        self._parts.append(out)
        # A full step may leave output inside and no input: then the trailer, still to come, brings it out.
        self._pending = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        return bool(self._pending)

    def finish(self) -> bytes:
        if not self._inflate.eof and (self._size or self._parts):
            raise UndecodableError  # cut short, though the transport ended in good order
        return b"".join(self._parts)
