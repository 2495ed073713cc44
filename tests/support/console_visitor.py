"""Somebody at the console without a browser: cookies, forms with their token, nothing run."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from tests.support.federation import Answered

_CSRF = re.compile(r'name="csrf" value="([^"]*)"')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


@dataclass
class Visitor:
    """`urls`: every address that was asked for."""

    root: str
    http: aiohttp.ClientSession
    page: str = ""
    urls: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    stop_at: str = ""  # a form whose redirection is not followed

    async def get(self, path: str, *, follow: bool = True) -> Answered:
        return await self._ask("GET", path, None, follow=follow)

    async def post(self, path: str, **form: str) -> Answered:
        """A form of the page seen last. Names with `_` for `-`."""
        given = {name.replace("_", "-"): value for name, value in form.items()}
        found = _CSRF.search(self.page)
        given.setdefault("csrf", html.unescape(found[1]) if found else "")
        return await self._ask("POST", path, given, follow=path != self.stop_at)

    async def send(self, path: str, form: Mapping[str, str]) -> Answered:
        """A form with all its fields, as they are named."""
        return await self._ask("POST", path, {**form}, follow=True)

    async def state(
        self, code: str = "TREAT", reference: str = "INC-42", back: str = "/console/search"
    ) -> Answered:
        """The purpose."""
        await self.get(f"/console/purpose?next={back}")
        return await self.post("/console/purpose", code=code, reference=reference, next=back)

    async def press(self, label: str) -> Answered:
        """A form of hidden fields alone, by its button."""
        form = next(
            one for one in re.findall(r"<form.*?</form>", self.page, re.DOTALL) if f">{label}<" in one
        )
        fields = {name: html.unescape(value) for name, value in _HIDDEN.findall(form)}
        action = re.search(r'action="([^"]*)"', form)
        assert action is not None
        return await self._ask("POST", action[1], fields, follow=True)

    @property
    def cookies(self) -> dict[str, str]:
        return {one.key: one.value for one in self.http.cookie_jar}

    @property
    def text(self) -> str:
        """The page without its marks."""
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", self.page)).split())

    async def _ask(self, method: str, path: str, form: dict[str, str] | None, *, follow: bool) -> Answered:
        sent = {"Accept": "text/html", **self.headers}
        async with self.http.request(
            method, self.root + path, data=form, headers=sent, allow_redirects=follow
        ) as answer:
            self.urls += [str(one.url) for one in (*answer.history, answer)]
            body = await answer.read()
            self.page = body.decode()
            return Answered(answer.status, answer.headers, body)


@asynccontextmanager
async def visitor(root: str, language: str = "en") -> AsyncIterator[Visitor]:
    """`root`: the address without a path."""
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address that is no name
    async with aiohttp.ClientSession(cookie_jar=jar) as http:
        yield Visitor(root, http, headers={"Accept-Language": language})
