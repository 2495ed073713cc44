"""What a declaration of a Gestionnaire must be. Pure; says every problem at once, in French and English.

`declaration` turns what was parsed from JSON or TOML into a normal `Gestionnaire`; `duplicates` looks over
several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from broker.core.dialects import dialect_problems
from broker.errors import RequestError
from registry.model import REGIONS, SLUG, Auth, AuthType, Gestionnaire

MAX_TIMEOUT = 120.0
MAX_CONNECTIONS = 1024

_DEPARTMENT = re.compile(r"0[1-9]|[1-8]\d|9[0-5]|2[AB]|97[1-8]|98[4678]")
"""INSEE department and overseas codes; 20 (old Corsica) is taken out below."""

_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
"""Upper case on purpose: what looks otherwise is more likely the secret itself, pasted in the wrong place."""

_FINESS = re.compile(r"[0-9][0-9AB][0-9]{7}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: the field (dotted path) and the reason, without repeating the value."""

    field: str
    fr: str
    en: str


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
        *_check_base_url(gestionnaire.base_url),
        *_check_limits(gestionnaire),
        *_check_territory(gestionnaire.territory),
        *_check_auth(gestionnaire.auth),
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
    "dialect": (
        "nom ou table d'aptitudes (true, false, nombre) attendu",
        "expected a name or a table of skills (true, false, number)",
    ),
    "search_method": ("auto, get ou post attendu", "expected auto, get or post"),
}


def _converted(raw: object) -> tuple[dict[str, object], list[Problem]]:
    if not isinstance(raw, Mapping):
        return {}, [Problem("", "objet attendu", "expected an object")]
    fields = {field.name: field.type for field in msgspec.structs.fields(Gestionnaire)}
    values: dict[str, object] = {}
    problems = []
    for name, value in raw.items():
        if name not in fields:
            problems.append(Problem(str(name)[:64], "champ inconnu", "unknown field"))
            continue
        try:
            values[name] = msgspec.convert(value, fields[name])
        except msgspec.ValidationError:
            problems.append(Problem(name, *_EXPECTED.get(name, ("texte attendu", "expected a text"))))
    return values, problems


def _absent(values: Mapping[str, object], problems: Sequence[Problem]) -> list[Problem]:
    told = {problem.field for problem in problems}
    return [
        Problem(field.name, "obligatoire", "required")
        for field in msgspec.structs.fields(Gestionnaire)
        if field.required and field.name not in values and field.name not in told and "" not in told
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
        organization=gestionnaire.organization.upper() if gestionnaire.organization else None,
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
    if one.organization is not None and not _FINESS.fullmatch(one.organization):
        problems.append(Problem("organization", "FINESS de 9 caractères", "9-character FINESS"))
    return problems


def _check_base_url(address: str) -> list[Problem]:
    def problem(fr: str, en: str) -> list[Problem]:
        return [Problem("base_url", fr, en)]

    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return problem("adresse illisible", "unreadable address")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return problem("adresse http(s) absolue attendue", "expected an absolute http(s) address")
    if "@" in parts.netloc:
        return problem(
            "pas d'identifiants dans l'adresse : voir auth", "no credentials in the address: see auth"
        )
    if "?" in address or "#" in address:
        return problem("ni paramètres ni fragment dans l'adresse", "no query and no fragment in the address")
    if not address.isascii() or not address.isprintable() or " " in address:
        return problem("caractères ASCII sans espace attendus", "expected ASCII characters without spaces")
    if any(segment in (".", "..") for segment in parts.path.split("/")):
        return problem("pas de segment . ou ..", "no . or .. segment")
    return []


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
        if code == "20" or not _DEPARTMENT.fullmatch(code)
    ]


_NEEDS: Mapping[AuthType, tuple[tuple[str, ...], ...]] = {
    AuthType.NONE: (),
    AuthType.BEARER: (("token_env", "token_file"),),
    AuthType.BASIC: (("username",), ("password_env", "password_file")),
    AuthType.OAUTH2: (
        ("token_url",),
        ("client_id",),
        ("client_secret_env", "client_secret_file", "cert_file"),
    ),
    AuthType.MTLS: (("cert_file",), ("key_file",)),
}
"""For each type, groups of fields of which one is needed."""


def _check_auth(auth: Auth) -> list[Problem]:
    problems = []
    for group in _NEEDS[auth.type]:
        if not any(getattr(auth, name) for name in group):
            fr, en = " ou ".join(group), " or ".join(group)
            problems.append(Problem("auth", f"{auth.type} demande {fr}", f"{auth.type} needs {en}"))
    for name in ("token_env", "password_env", "client_secret_env"):
        value = getattr(auth, name)
        if value is not None and not _ENV_NAME.fullmatch(value):
            problems.append(
                Problem(
                    f"auth.{name}",
                    "nom de variable d'environnement en majuscules attendu, pas le secret",
                    "expected an upper-case environment variable name, not the secret",
                )
            )
    if auth.token_url is not None:
        problems += [
            Problem("auth.token_url", problem.fr, problem.en) for problem in _check_base_url(auth.token_url)
        ]
    return problems
