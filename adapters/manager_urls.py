"""Which URLs of a manager may be asked: those under its registered base, and no others. No I/O.

Managers write links (`next`, `Location`) that the broker follows with its own credentials. A link is
therefore resolved and confined here: same scheme, host and port, a path under the base on a segment boundary,
no dot segment in any spelling, no user information. What passes is rebuilt on the registered origin, never
sent as it was written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from yarl import URL

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")  # what URL parsers disagree on, and header splitting
_AS_WRITTEN = "%/:?#[]@!$&'()*+,;=-._~"  # reserved characters keep their meaning: the link is opaque
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CACHED_TARGETS = 64

_OURS = re.compile(r"[A-Za-z]+(?:/[A-Za-z0-9_\-][A-Za-z0-9_\-.]*){0,3}")
"""A type, an id, a version: what a read is made of. No segment starts with a dot, so it stays below the base."""


class OutsideBaseError(ValueError):
    """The target does not lie under the manager's base. Carries nothing of the URL: it may name a person."""

    def __init__(self) -> None:
        super().__init__("target outside the manager's base")


class ManagerAddress:
    """The base of one manager, taken apart once."""

    __slots__ = ("_base", "_cache", "_host", "_origin", "_path", "_port", "_scheme")

    def __init__(self, base_url: str) -> None:
        """Raise `ValueError` where `base_url` is no absolute http(s) URL."""
        parts = urlsplit(base_url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
            raise ValueError("base_url must be an absolute http(s) URL without user information")
        self._scheme = parts.scheme
        self._host = parts.hostname
        self._port = _port(parts)
        self._path = parts.path.rstrip("/")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._base = self._origin + self._path
        self._cache: dict[str, URL] = {}

    def url(self, target: str, query: Sequence[tuple[str, str]] = ()) -> URL:
        """The URL of a `ManagerRequest.target` with `query` added. Raise `OutsideBaseError`."""
        if not query and (known := self._cache.get(target)) is not None:
            return known
        plain = _OURS.fullmatch(target) is not None
        text = f"{self._base}/{target}" if plain else self._confined(self._absolute(target))
        if query:
            text += ("&" if "?" in text else "?") + urlencode(query, safe=":")
        url = URL(text, encoded=True)
        # Searches are the hot path and have one address per type; ids and page links are not worth keeping.
        if not query and target.endswith("/_search") and len(self._cache) < _CACHED_TARGETS:
            self._cache[target] = url
        return url

    def _absolute(self, target: str) -> str:
        if _FORBIDDEN.search(target):
            raise OutsideBaseError
        target = quote(target, safe=_AS_WRITTEN)
        if _SCHEME.match(target):
            return target
        if target.startswith("//"):
            return f"{self._scheme}:{target}"
        if target.startswith("/"):
            return self._origin + target
        if not target or target.startswith("?"):
            return self._base + target
        return f"{self._base}/{target}"

    def _confined(self, text: str) -> str:
        try:
            parts = urlsplit(text)
            port = _port(parts)
        except ValueError:
            raise OutsideBaseError from None
        same_origin = (
            parts.scheme == self._scheme
            and parts.hostname == self._host
            and port == self._port
            and "@" not in parts.netloc
        )
        path = parts.path
        under_base = path in (self._path, self._path + "/") or path.startswith(self._path + "/")
        if not same_origin or not under_base or not _plain(path[len(self._path) :]):
            raise OutsideBaseError
        return self._origin + path + (f"?{parts.query}" if parts.query else "")


def _port(parts: SplitResult) -> int | None:
    return parts.port if parts.port is not None else _DEFAULT_PORTS.get(parts.scheme)


def _plain(path: str) -> bool:
    """No empty or dot segment once decoded, however often; no encoded separator either."""
    decoded = path
    for _ in range(3):
        decoded = unquote(decoded)
    if decoded.count("/") != path.count("/") or _FORBIDDEN.search(decoded):
        return False
    segments = decoded.split("/")[1:]
    # Servlet containers cut `;parameters` before they resolve dots.
    return not any(part.partition(";")[0] in (".", "..") for part in segments) and "" not in segments[:-1]
