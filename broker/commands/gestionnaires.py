"""`cds-broker gestionnaires …`: the registry of managers, by the running broker's API.

Exit codes: 0 done, 1 refused or not done, 2 wrong use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import msgspec
import orjson
import typer
from rich.console import Console

from broker.commands.api_client import DEFAULT_URL, ApiClient
from broker.commands.api_error import ApiError, language
from broker.commands.gestionnaires_table import detail, lacks, listing
from broker.commands.terminal import progress
from broker.core.messages import text
from broker.errors import ConfigurationError
from registry import toml_file

app = typer.Typer(no_args_is_help=True, help="The managers (Gestionnaires) of this federation.")

_COLLECTION = "/registry/gestionnaires"
_CHECK_SECONDS = 300.0

Url = Annotated[str, typer.Option("--url", envvar="CDS_URL", help="Address of the running broker.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts.")]
Slug = Annotated[str, typer.Argument(help="The manager's id, for example bre.", metavar="ID")]


@app.command("list", epilog="Example: cds-broker gestionnaires list --status active")
def list_command(
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    status: Annotated[str | None, typer.Option(help="active or suspended.")] = None,
    region: Annotated[str | None, typer.Option(help="A TRE_R30 region code, for example 53.")] = None,
) -> None:
    """List the managers."""
    query = {name: value for name, value in (("status", status), ("region", region)) if value is not None}

    async def ask(api: ApiClient) -> Any:
        return (await api.call("GET", _COLLECTION, query=query))["gestionnaires"]

    _show(_run(url, ask), as_json, listing)


@app.command(epilog="Example: cds-broker gestionnaires show bre")
def show(slug: Slug, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show one manager: its declaration, what it can do, and what is missing."""

    async def ask(api: ApiClient) -> Any:
        return await api.call("GET", _path(slug))

    _show(_run(url, ask), as_json, detail)


@app.command(
    epilog="Example: cds-broker gestionnaires add --id bre --name 'GCS e-Santé Bretagne' --region 53 "
    "--base-url https://cds.bretagne.example/fhir"
)
def add(
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    slug: Annotated[str | None, typer.Option("--id", help="Short id: a-z, 0-9, dash; 16 at most.")] = None,
    name: Annotated[str | None, typer.Option(help="Name shown to people.")] = None,
    region: Annotated[str | None, typer.Option(help="A TRE_R30 region code, for example 53.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Its FHIR base address.")] = None,
    organization: Annotated[str | None, typer.Option(help="Its FINESS.")] = None,
    territory: Annotated[list[str] | None, typer.Option(help="A department code; repeatable.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one request.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="A TOML file of [[gestionnaire]] tables: for auth, TLS and dialects."),
    ] = None,
    replace: Annotated[bool, typer.Option(help="Change those that are already registered.")] = False,
) -> None:
    """Register a manager, or those of a file."""
    options = {
        "id": slug,
        "name": name,
        "region": region,
        "base_url": base_url,
        "organization": organization,
        "territory": territory,
        "timeout": timeout,
    }
    declarations = _declarations({key: value for key, value in options.items() if value}, file)

    async def ask(api: ApiClient) -> Any:
        return [await _register(api, one, replace=replace) for one in declarations]

    _show(_run(url, ask), as_json, listing)


@app.command(epilog="Example: cds-broker gestionnaires suspend bre")
def suspend(slug: Slug, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Stop asking a manager. It stays registered."""
    _show([_run(url, _post(slug, "suspend"))], as_json, listing)


@app.command(epilog="Example: cds-broker gestionnaires resume bre")
def resume(slug: Slug, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Ask a manager again."""
    _show([_run(url, _post(slug, "resume"))], as_json, listing)


@app.command(epilog="Example: cds-broker gestionnaires remove bre --yes")
def remove(
    slug: Slug,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take a manager out of the registry. Its history is kept."""
    if not yes:
        typer.confirm(_said(f"Retirer {slug} ?", f"Remove {slug}?"), abort=True, err=True)

    async def ask(api: ApiClient) -> Any:
        await api.call("DELETE", _path(slug))
        return {"removed": slug}

    removed = _said(f"{slug} est retiré.", f"{slug} is removed.")
    _show(_run(url, ask), as_json, lambda _: removed)


@app.command(epilog="Example: cds-broker gestionnaires check bre (or, for all of them, --all)")
def check(
    slugs: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="The managers' ids.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    everybody: Annotated[bool, typer.Option("--all", help="Every registered manager.")] = False,
) -> None:
    """Find out what managers can do, from their statement and by trying; keep it in the registry.

    Exits 1 where a manager could not be checked.
    """
    if everybody == bool(slugs):
        raise typer.BadParameter(_said("donnez des ID, ou --all", "give IDs, or --all"))

    async def ask(api: ApiClient) -> list[dict[str, Any]]:
        wanted = list(slugs or [])
        if everybody:
            found = (await api.call("GET", _COLLECTION))["gestionnaires"]
            wanted = [one["gestionnaire"]["id"] for one in found]
        return await _check_each(api, wanted)

    results = _run(url, ask)
    _show(results, as_json, lacks)
    if any("error" in result for result in results):
        raise typer.Exit(1)


async def _check_each(api: ApiClient, slugs: list[str]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    with progress() as shown:
        task = shown.add_task("check", total=len(slugs))
        for slug in slugs:
            shown.update(task, description=slug)
            try:
                answer = await api.call("POST", f"{_path(slug)}/check", seconds=_CHECK_SECONDS)
                results.append({"id": slug, "skills": answer.get("skills", {})})
            except ApiError as error:
                if error.status is None:
                    raise
                results.append({"id": slug, "error": {"fr": error.fr, "en": error.en}})
            shown.advance(task)
    return results


async def _register(api: ApiClient, declared: Mapping[str, Any], *, replace: bool) -> Any:
    try:
        return await api.call("POST", _COLLECTION, body=declared)
    except ApiError as error:
        if not replace or error.status != 409:
            raise
        return await api.call("PUT", _path(str(declared["id"])), body=declared)


def _declarations(options: Mapping[str, Any], file: Path | None) -> list[Mapping[str, Any]]:
    if file is not None:
        if options:
            raise typer.BadParameter(_said("--file exclut les autres options", "--file stands alone"))
        try:
            return [msgspec.to_builtins(one) for one in toml_file.read(file)]
        except ConfigurationError as error:
            _fail(text(error.key, language(), **error.params))
    missing = [name for name in ("id", "name", "region", "base_url") if name not in options]
    if missing:
        wanted = ", ".join("--" + name.replace("_", "-") for name in missing)
        raise typer.BadParameter(_said(f"il manque {wanted} (ou --file)", f"missing {wanted} (or --file)"))
    return [options]


def _post(slug: str, action: str) -> Callable[[ApiClient], Awaitable[Any]]:
    return lambda api: api.call("POST", f"{_path(slug)}/{action}")


def _path(slug: str) -> str:
    return f"{_COLLECTION}/{quote(slug, safe='')}"


def _run(url: str, ask: Callable[[ApiClient], Awaitable[Any]]) -> Any:
    async def session() -> Any:
        async with ApiClient(url) as api:
            return await ask(api)

    try:
        return asyncio.run(session())
    except ApiError as error:
        _fail(error.told())


def _show(result: Any, as_json: bool, render: Callable[[Any], Any]) -> None:
    if as_json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    else:
        Console().print(render(result))


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _said(fr: str, en: str) -> str:
    return fr if language() == "fr" else en
