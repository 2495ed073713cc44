"""`cds-broker search` and `explain`: a search asked of the running broker, by POST so that no INS is in a URL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
import typer
from rich.console import Console

from broker.commands.api_client import DEFAULT_URL, ApiClient
from broker.commands.search_table import explained_plan, issues_of, searchset_table
from broker.commands.terminal import run, said

Url = Annotated[str, typer.Option("--url", envvar="CDS_URL", help="Address of the running broker.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")]
Wanted = Annotated[
    str, typer.Argument(metavar="'TYPE?PARAMETERS'", help="As in a URL: 'CareTeam?patient.family=Moreau'.")
]

_BROKERS_SECONDS = 90.0


def search(
    wanted: Wanted,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    page: Annotated[int, typer.Option(min=1, help="The page to show.")] = 1,
) -> None:
    """Search every region, and show what was found and what is missing.

    Exits 0 where there was an answer, also a partial one: what is missing is named below the table.
    """
    kind, parameters = _parts(wanted)

    async def ask(api: ApiClient) -> Any:
        bundle = await api.call("POST", f"/fhir/{kind}/_search", form=parameters, seconds=_BROKERS_SECONDS)
        for number in range(2, page + 1):
            following = _next(bundle)
            if following is None:
                raise typer.BadParameter(
                    said(f"il n'y a que {number - 1} page(s)", f"there are only {number - 1} page(s)"),
                    param_hint="--page",
                )
            bundle = await api.call("GET", following, seconds=_BROKERS_SECONDS)
        return bundle

    bundle = _asked(url, ask)
    if as_json:
        _json(bundle)
        return
    console = Console()
    console.print(searchset_table(bundle))
    for line in issues_of(bundle):
        console.print(line, style="yellow", markup=False, highlight=False)
    if _next(bundle) is not None:
        more = said("Il y a d'autres résultats : --page {}.", "There is more: --page {}.")
        console.print(more.format(page + 1), markup=False)


def explain(wanted: Wanted, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show which managers a search asks, which it leaves out, and why."""
    _parts(wanted)

    async def ask(api: ApiClient) -> Any:
        return await api.call("POST", "/registry/plan", body={"search": wanted})

    plan = _asked(url, ask)
    if as_json:
        _json(plan)
    else:
        Console().print(explained_plan(plan))


def _parts(wanted: str) -> tuple[str, str]:
    """The type, and its parameters as a form's body."""
    kind, _, parameters = wanted.lstrip("/").partition("?")
    if not kind.isascii() or not kind.isalpha():
        raise typer.BadParameter(
            said("attendu : 'CareTeam?paramètre=valeur'", "expected: 'CareTeam?parameter=value'")
        )
    return kind, urlencode(parse_qsl(parameters, keep_blank_values=True))


def _next(bundle: Any) -> str | None:
    """The path and query of the next page: the broker may be reached here by another address than in its links."""
    for link in bundle.get("link", ()):
        if link.get("relation") == "next":
            parts = urlsplit(link["url"])
            return f"/fhir/{parts.path.rpartition('/')[2]}?{parts.query}"
    return None


def _asked(url: str, ask: Callable[[ApiClient], Awaitable[Any]]) -> Any:
    async def session() -> Any:
        async with ApiClient(url) as api:
            return await ask(api)

    return run(session())


def _json(document: Any) -> None:
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
