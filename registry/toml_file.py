"""The file of managers: `[[gestionnaire]]` tables, read at start and on SIGHUP, brought into the registry.

The file declares; it does not rule over what operators did since. A manager that it does not name stays. Its
status counts for a new manager: one that was suspended, or resumed, through the API stays so.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from broker.errors import ConfigurationError, RequestError
from registry.model import Gestionnaire
from registry.ports import GestionnaireStore
from registry.validation import InvalidDeclarationError, Problem, declaration, duplicates

KEY = "gestionnaire"


@dataclass(frozen=True, slots=True)
class Applied:
    """Slugs, by what the file did to them."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


def read(path: Path) -> list[Gestionnaire]:
    """The declarations of a file. Blocking.

    Raises `ConfigurationError`: `config.file` if unreadable, `config.gestionnaires` with every problem.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "UTF-8"
        raise ConfigurationError("config.file", setting=str(path), reason=reason) from error
    return parse(text, file=str(path))


def parse(text: str, *, file: str) -> list[Gestionnaire]:
    """The declarations of a text; `file` names it in errors. Raises as `read` does."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _refused(file, [Problem("TOML", str(error), str(error))]) from error
    tables = document.get(KEY, [])
    if not isinstance(tables, list) or not set(document) <= {KEY}:
        only = Problem(
            f"[[{KEY}]]", "rien que de telles tables est attendu", "expected nothing but such tables"
        )
        raise _refused(file, [only])
    declarations: list[Gestionnaire] = []
    problems: list[Problem] = []
    for index, table in enumerate(tables):
        try:
            declarations.append(declaration(table))
        except InvalidDeclarationError as error:
            label = f"{KEY}[{index}]"
            problems += [Problem(f"{label}.{one.field}", one.fr, one.en) for one in error.problems]
    problems += duplicates(declarations)
    if problems:
        raise _refused(file, problems)
    return declarations


async def admitted(
    declarations: Sequence[Gestionnaire], admit: Callable[[Gestionnaire], Awaitable[None]], *, file: str
) -> None:
    """Put the declarations to what this installation takes. Raises `ConfigurationError` with every problem."""

    async def problems_of(one: Gestionnaire) -> list[Problem]:
        try:
            await admit(one)
        except InvalidDeclarationError as error:
            return [Problem(f"{one.id}.{found.field}", found.fr, found.en) for found in error.problems]
        return []

    found = await asyncio.gather(*map(problems_of, declarations))
    problems = [problem for of_one in found for problem in of_one]
    if problems:
        raise _refused(file, problems)


async def apply(
    store: GestionnaireStore, declarations: Sequence[Gestionnaire], *, file: str = "gestionnaires"
) -> Applied:
    """Bring the declarations into the store. Safe to run from several processes at once.

    Raises `StoreError`, and `ConfigurationError` where an address belongs to a manager it does not name.
    """
    added, changed, unchanged = [], [], []
    for declared in declarations:
        try:
            before, after = await _apply_one(store, declared)
        except RequestError as error:
            other = str(error.params.get("other", "?"))
            fr, en = f"déjà l'adresse de {other}", f"already the address of {other}"
            raise _refused(file, [Problem(f"{declared.id}.base_url", fr, en)]) from error
        if before == 0:
            added.append(declared.id)
        elif before == after:
            unchanged.append(declared.id)
        else:
            changed.append(declared.id)
    return Applied(tuple(added), tuple(changed), tuple(unchanged))


async def _apply_one(store: GestionnaireStore, declared: Gestionnaire) -> tuple[int, int]:
    """The revisions before (0: there was none) and after."""
    while True:
        current = await store.get(declared.id)
        wanted = declared
        if current is not None:
            wanted = msgspec.structs.replace(declared, status=current.gestionnaire.status)
        before = 0 if current is None else current.revision
        try:
            return before, (await store.put(wanted, expected_revision=before)).revision
        except RequestError as error:
            if error.key != "registry.conflict":
                raise


def _refused(file: str, problems: Sequence[Problem]) -> ConfigurationError:
    return ConfigurationError(
        "config.gestionnaires",
        file=file,
        problems_fr=" ; ".join(f"{one.field} : {one.fr}" for one in problems),
        problems_en="; ".join(f"{one.field}: {one.en}" for one in problems),
    )
