"""The console's own files, served from memory under an address that changes with their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

FOLDER: Final = Path(__file__).parent / "static"
PATH: Final = "/console/static/{digest}/{name}"

_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_FOR_GOOD = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Assets:
    """`digest`: of all files together, so that modules import one another by relative addresses."""

    files: Mapping[str, bytes]
    digest: str

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Assets:
        """Blocking."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in _TYPES}
        whole = hashlib.sha256()
        for name, content in files.items():
            whole.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return cls(files, whole.hexdigest()[:16])

    def url(self, name: str) -> str:
        """`KeyError` where there is no such file."""
        _ = self.files[name]
        return PATH.format(digest=self.digest, name=name)

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.get(PATH, self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        content = self.files.get(name)
        if content is None:
            raise web.HTTPNotFound
        etag = f'"{self.digest}"'
        # Of another version, as while nodes are replaced one after the other: what there is, and not to be kept.
        current = request.match_info["digest"] == self.digest
        headers = {
            "ETag": etag,
            "Cache-Control": _FOR_GOOD if current else "no-cache",
            "X-Content-Type-Options": "nosniff",
        }
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers=headers)
        kind = f"{_TYPES[Path(name).suffix]}; charset=utf-8"
        return web.Response(body=content, headers={**headers, "Content-Type": kind})
