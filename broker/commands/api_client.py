"""A small client of the running broker's JSON API, for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import aiohttp
import orjson

from broker.commands.api_error import ApiError

DEFAULT_URL = "http://127.0.0.1:8080"
_TIMEOUT = aiohttp.ClientTimeout(total=30)


class ApiClient:
    """`async with ApiClient(url) as api: await api.call("GET", "/registry/gestionnaires")`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    async def __aenter__(self) -> ApiClient:
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        form: str | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Any:
        """The parsed JSON of a good answer, None where it has no body. `seconds` replaces the usual bound of 30.

        `body` is sent as JSON, `form` as the encoded form that it is.

        Raises `ApiError` with what the broker said, or with what to do where none answers.
        """
        sent = orjson.dumps(body) if body is not None else form.encode() if form is not None else None
        kinds = {"Accept": "application/json, application/fhir+json"}
        if sent is not None:
            kinds["Content-Type"] = (
                "application/json" if form is None else "application/x-www-form-urlencoded"
            )
        options: dict[str, Any] = {}
        if seconds is not None:
            options["timeout"] = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.request(
                method,
                self.url + path,
                data=sent,
                params=query,
                headers={**kinds, **(headers or {})},
                allow_redirects=False,
                **options,
            ) as response:
                content = await response.read()
        except aiohttp.InvalidURL as error:
            raise ApiError(f"Adresse illisible : {self.url}", f"Unreadable address: {self.url}") from error
        except TimeoutError as error:
            raise ApiError(
                f"Le courtier à {self.url} n'a pas répondu à temps.",
                f"The broker at {self.url} did not answer in time.",
            ) from error
        except aiohttp.ClientError as error:
            raise ApiError(
                f"Aucun courtier ne répond à {self.url} : lancez « cds-broker serve », ou donnez --url.",
                f"No broker answers at {self.url}: start one with `cds-broker serve`, or give --url.",
            ) from error
        return _parsed(response.status, content, self.url)


def _parsed(status: int, content: bytes, url: str) -> Any:
    try:
        document = orjson.loads(content) if content else None
    except orjson.JSONDecodeError:
        document = None
        if status < 300:
            raise ApiError(
                f"Ce qui répond à {url} n'est pas un courtier.", f"What answers at {url} is no broker."
            ) from None
    if status < 300:
        return document
    said = document if isinstance(document, dict) else {}
    if said.get("resourceType") == "OperationOutcome":
        said = _outcome_texts(said)
    unknown_fr, unknown_en = f"Le courtier a répondu {status}.", f"The broker answered {status}."
    raise ApiError(str(said.get("fr", unknown_fr)), str(said.get("en", unknown_en)), status=status)


def _outcome_texts(outcome: dict[str, Any]) -> dict[str, str]:
    """The first issue of the broker's own OperationOutcome, by language (see `broker.core.outcome`)."""
    try:
        details = outcome["issue"][0]["details"]
        other = {
            part["url"]: part for part in details["_text"]["extension"][0]["extension"]
        }  # lang and content of the translation
        texts = {other["lang"]["valueCode"]: other["content"]["valueString"]}
        texts[outcome["language"]] = details["text"]
    except (LookupError, TypeError):
        return {}
    return texts
