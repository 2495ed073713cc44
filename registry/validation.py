"""What a declaration of a Gestionnaire must be. Pure; says every problem at once, in French and English.

`declaration` turns what was parsed from JSON or TOML into a normal `Gestionnaire`; `duplicates` looks over
several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from broker.core.dialects import dialect_problems
from broker.errors import RequestError
from registry.declared_access import check_access, check_address
from registry.model import REGIONS, SLUG, Auth, Gestionnaire, Identity
from registry.problem import Problem

__all__ = ["InvalidDeclarationError", "Problem", "check", "declaration", "duplicates"]

MAX_TIMEOUT = 120.0
MAX_CONNECTIONS = 1024

DEPARTMENT = re.compile(r"0[1-9]|[1-8][0-9]|9[0-5]|2[AB]|97[1-8]|98[4678]")
"""INSEE department and overseas codes; 20 (old Corsica) is taken out below."""

FINESS = re.compile(r"[0-9][0-9AB][0-9]{7}")


class InvalidDeclarationError(RequestError):
    """`registry.invalid`, with every problem of the declaration."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(
            "registry.invalid",
            field=", ".join(problem.field for problem in problems),
            reason=f"{problems[0].fr} / {problems[0].en}",
        )
        self.problems = tuple(problems)

    def line(self, language: str) -> str:
        """Every problem on one line, in `fr` or `en`."""
        return "; ".join(
            f"{problem.field}: {problem.fr if language == 'fr' else problem.en}" for problem in self.problems
        )


def declaration(raw: object) -> Gestionnaire:
    """A `Gestionnaire`, checked and normal (no trailing slash, FINESS and departments in upper case).

    `raw` is what a JSON or TOML parser gave. Raises `InvalidDeclarationError`.
    """
    values, problems = _converted(raw)
    problems += _absent(values, problems)
    if problems:
        raise InvalidDeclarationError(problems)
    gestionnaire = _normal(Gestionnaire(**values))  # type: ignore[arg-type]  # each value was converted to its field's type
    problems = check(gestionnaire)
    if problems:
        raise InvalidDeclarationError(problems)
    return gestionnaire


def check(gestionnaire: Gestionnaire) -> list[Problem]:
    """Every rule that a well-typed declaration breaks."""
    problems = [
        *_check_identity(gestionnaire),
        *check_address("base_url", gestionnaire.base_url),
        *_check_limits(gestionnaire),
        *_check_territory(gestionnaire.territory),
        *check_access(gestionnaire),
    ]
    problems += [
        Problem("dialect", f"dialecte non reconnu ({line})", line)
        for line in dialect_problems(gestionnaire.dialect)
    ]
    return problems


def duplicates(declarations: Iterable[Gestionnaire]) -> list[Problem]:
    """Slugs and addresses that several declarations share."""
    slugs: set[str] = set()
    addresses: dict[str, str] = {}
    problems = []
    for one in declarations:
        if one.id in slugs:
            problems.append(Problem(f"{one.id}.id", "déclaré deux fois", "declared twice"))
        slugs.add(one.id)
        owner = addresses.setdefault(one.base_url, one.id)
        if owner != one.id:
            problems.append(
                Problem(f"{one.id}.base_url", f"déjà l'adresse de {owner}", f"already the address of {owner}")
            )
    return problems


_EXPECTED: Mapping[str, tuple[str, str]] = {
    "territory": ("liste de codes de département attendue", "expected a list of department codes"),
    "status": ("active ou suspended attendu", "expected active or suspended"),
    "timeout": ("nombre de secondes attendu", "expected a number of seconds"),
    "max_connections": ("entier attendu", "expected an integer"),
    "optional": ("true ou false attendu", "expected true or false"),
    "auth": (
        "objet attendu : type (none, bearer, basic, oauth2, mtls) et ses noms de variables ou de fichiers",
        "expected an object: type (none, bearer, basic, oauth2, mtls) and its names of variables or files",
    ),
    "auth.type": (
        "none, bearer, basic, oauth2 ou mtls attendu",
        "expected none, bearer, basic, oauth2 or mtls",
    ),
    "auth.token_auth": (
        "client_secret_basic, client_secret_post, private_key_jwt ou tls_client_auth attendu",
        "expected client_secret_basic, client_secret_post, private_key_jwt or tls_client_auth",
    ),
    "identity": ("objet attendu : audience, key_file…", "expected an object: audience, key_file…"),
    "identity.type": ("jwt attendu", "expected jwt"),
    "identity.seconds": ("entier attendu", "expected an integer"),
    "dialect": (
        "nom ou table d'aptitudes (true, false, nombre) attendu",
        "expected a name or a table of skills (true, false, number)",
    ),
    "search_method": ("auto, get ou post attendu", "expected auto, get or post"),
}


_PARTS: Mapping[str, Any] = {"auth": Auth, "identity": Identity}
"""Fields that are objects of their own: what is wrong with one of theirs is said by its name."""


def _converted(
    raw: object, of: Any = Gestionnaire, path: str = ""
) -> tuple[dict[str, object], list[Problem]]:
    if not isinstance(raw, Mapping):
        return {}, [
            Problem(
                path.rstrip("."), *_EXPECTED.get(path.rstrip("."), ("objet attendu", "expected an object"))
            )
        ]
    fields = {field.name: field.type for field in msgspec.structs.fields(of)}
    values: dict[str, object] = {}
    problems = []
    for name, value in raw.items():
        if name not in fields:
            problems.append(Problem(path + str(name)[:64], "champ inconnu", "unknown field"))
            continue
        if name in _PARTS and isinstance(value, Mapping):
            values[name], inner = _part(name, value)
            problems += inner
            continue
        try:
            values[name] = msgspec.convert(value, fields[name])
        except msgspec.ValidationError:
            expected = _EXPECTED.get(path + name, ("texte attendu", "expected a text"))
            problems.append(Problem(path + name, *expected))
    return values, problems


def _part(name: str, raw: Mapping[str, object]) -> tuple[object, list[Problem]]:
    values, problems = _converted(raw, _PARTS[name], f"{name}.")
    problems += _absent(values, problems, _PARTS[name], f"{name}.")
    return (None if problems else _PARTS[name](**values)), problems


def _absent(
    values: Mapping[str, object], problems: Sequence[Problem], of: Any = Gestionnaire, path: str = ""
) -> list[Problem]:
    told = {problem.field for problem in problems}
    return [
        Problem(path + field.name, "obligatoire", "required")
        for field in msgspec.structs.fields(of)
        if field.required and field.name not in values and path + field.name not in told and "" not in told
    ]


def _normal(gestionnaire: Gestionnaire) -> Gestionnaire:
    parts = urlsplit(gestionnaire.base_url.strip()) if _splits(gestionnaire.base_url) else None
    address = gestionnaire.base_url.strip()
    if parts is not None and parts.netloc:
        # Scheme and host do not mind case (RFC 3986, 6.2.2.1): one address, one writing, so that copies are
        # seen.
        address = parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower()).geturl()
    return msgspec.structs.replace(
        gestionnaire,
        name=gestionnaire.name.strip(),
        base_url=address.rstrip("/"),
        organization=None if gestionnaire.organization is None else gestionnaire.organization.upper(),
        territory=tuple(code.upper() for code in gestionnaire.territory),
    )


def _splits(address: str) -> bool:
    try:
        urlsplit(address)
    except ValueError:
        return False
    return True


def _check_identity(one: Gestionnaire) -> list[Problem]:
    problems = []
    if not SLUG.fullmatch(one.id):
        problems.append(
            Problem(
                "id",
                "1 à 16 caractères attendus : a-z, 0-9, tiret, sans tiret au début",
                "expected 1 to 16 characters: a-z, 0-9, dash, no dash first",
            )
        )
    if not 0 < len(one.name) <= 200 or not one.name.isprintable():
        problems.append(
            Problem(
                "name", "1 à 200 caractères affichables attendus", "expected 1 to 200 printable characters"
            )
        )
    if one.region not in REGIONS:
        codes = ", ".join(REGIONS)
        problems.append(Problem("region", f"code TRE_R30 : {codes}", f"TRE_R30 code: {codes}"))
    if one.organization is not None and not FINESS.fullmatch(one.organization):
        problems.append(Problem("organization", "FINESS de 9 caractères", "9-character FINESS"))
    return problems


def _check_limits(one: Gestionnaire) -> list[Problem]:
    problems = []
    if one.timeout is not None and not 0 < one.timeout <= MAX_TIMEOUT:
        problems.append(
            Problem(
                "timeout",
                f"plus de 0 et au plus {MAX_TIMEOUT:g} secondes",
                f"over 0 and at most {MAX_TIMEOUT:g} seconds",
            )
        )
    if not 1 <= one.max_connections <= MAX_CONNECTIONS:
        problems.append(
            Problem("max_connections", f"de 1 à {MAX_CONNECTIONS}", f"from 1 to {MAX_CONNECTIONS}")
        )
    return problems


def _check_territory(codes: Sequence[str]) -> list[Problem]:
    return [
        Problem(f"territory[{index}]", "code de département inconnu", "unknown department code")
        for index, code in enumerate(codes)
        if code == "20" or not DEPARTMENT.fullmatch(code)
    ]
