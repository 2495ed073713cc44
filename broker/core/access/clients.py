"""The directory of clients: who is registered, by what certificate, for what, and how far it reaches. Pure.

A TOML file (`CDS_CLIENTS`) of `[[client]]` tables:

    [[client]]
    id = "dmp"                                  # `client_id` of its tokens
    certificate_subject = "CN=dmp,O=GIE,C=FR"   # RFC 4514; or certificate_sha256 = "…" (hexadecimal)
    certificate_issuer = "CN=AC ORG,C=FR"       # narrows the subject to one authority
    scopes = ["system/CareTeam.rs"]             # what is granted; under oidc: of what its tokens grant, absent: all of that
    managers = ["bre"]                          # those that it reaches, with those of its regions; both absent: all
    regions = ["53"]
    manager = "bre"                             # the Gestionnaire that the client itself is
    rate = 50                                   # requests a second, where it is to have a bound of its own
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography.x509 import Name

from broker.core.access.certificates import Certificate, name_of
from broker.core.access.claims import RESERVED
from broker.core.access.principal import Scopes
from broker.core.access.scopes import meaningless, parse_scopes
from registry.model import REGIONS, SLUG

_ID = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,198}[\x21-\x7e])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")

KEY: Final = "client"


class ClientTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[client]]` as it is written."""

    id: str
    certificate_subject: str | None = None
    certificate_issuer: str | None = None
    certificate_sha256: str | None = None
    scopes: tuple[str, ...] | None = None
    managers: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    manager: str | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """`scopes`: None where its tokens alone say. `rate`: requests a second, None for everybody's."""

    id: str
    scopes: Scopes | None = None
    managers: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    manager: str | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class WrongClient:
    """One thing wrong: where (`client[0].scopes`), and the reason without the value."""

    field: str
    fr: str
    en: str


class WrongClientsError(ValueError):
    def __init__(self, problems: Sequence[WrongClient]) -> None:
        super().__init__(", ".join(problem.field for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Clients:
    """Registered clients by id and by certificate."""

    by_id: Mapping[str, Client] = field(default_factory=dict)
    by_sha256: Mapping[bytes, Client] = field(default_factory=dict)
    by_names: Mapping[tuple[Name, Name | None], Client] = field(default_factory=dict)

    def of_certificate(self, certificate: Certificate) -> Client | None:
        """By its digest, else by its subject with its issuer, else by its subject alone."""
        return (
            self.by_sha256.get(certificate.sha256)
            or self.by_names.get((certificate.subject, certificate.issuer))
            or self.by_names.get((certificate.subject, None))
        )


def parse_clients(document: object) -> Clients:
    """`document`: what a TOML parser gave. Raises `WrongClientsError` with every problem."""
    tables = document.get(KEY, []) if isinstance(document, dict) and set(document) <= {KEY} else None
    if not isinstance(tables, list):
        raise WrongClientsError(
            [
                WrongClient(
                    f"[[{KEY}]]", "rien que de telles tables est attendu", "expected nothing but such tables"
                )
            ]
        )
    problems: list[WrongClient] = []
    by_id: dict[str, Client] = {}
    by_sha256: dict[bytes, Client] = {}
    by_names: dict[tuple[Name, Name | None], Client] = {}
    for index, raw in enumerate(tables):
        label = f"{KEY}[{index}]"
        try:
            table = msgspec.convert(raw, ClientTable, strict=True)
        except msgspec.ValidationError as error:
            problems.append(WrongClient(label, "champ absent, inconnu ou du mauvais type", str(error)))
            continue
        wrong = [WrongClient(f"{label}.{one.field}", one.fr, one.en) for one in _problems(table)]
        problems += wrong
        if wrong:
            continue
        client = _client(table)
        if table.id in by_id:
            problems.append(WrongClient(f"{label}.id", "déjà pris", "already taken"))
        by_id[table.id] = client
        problems += _certified(table, client, label, by_sha256, by_names)
    if problems:
        raise WrongClientsError(problems)
    return Clients(by_id, by_sha256, by_names)


def _client(table: ClientTable) -> Client:
    return Client(
        table.id,
        None if table.scopes is None else parse_scopes(table.scopes, user=True),
        None if table.managers is None else frozenset(table.managers),
        None if table.regions is None else frozenset(table.regions),
        table.manager,
        table.rate,
    )


def _certified(
    table: ClientTable,
    client: Client,
    label: str,
    by_sha256: dict[bytes, Client],
    by_names: dict[tuple[Name, Name | None], Client],
) -> Iterable[WrongClient]:
    if table.certificate_sha256 is not None:
        digest = bytes.fromhex(_hexadecimal(table.certificate_sha256))
        if by_sha256.setdefault(digest, client) is not client:
            yield WrongClient(f"{label}.certificate_sha256", "déjà pris", "already taken")
    if table.certificate_subject is not None:
        issuer = None if table.certificate_issuer is None else name_of(table.certificate_issuer)
        if by_names.setdefault((name_of(table.certificate_subject), issuer), client) is not client:
            yield WrongClient(f"{label}.certificate_subject", "déjà pris", "already taken")


def _problems(table: ClientTable) -> Iterable[WrongClient]:
    if _ID.fullmatch(table.id) is None or table.id in RESERVED:
        yield WrongClient(
            "id", "1 à 200 caractères ASCII, et non réservé", "1 to 200 ASCII characters, not reserved"
        )
    for label, value in (
        ("certificate_subject", table.certificate_subject),
        ("certificate_issuer", table.certificate_issuer),
    ):
        if value is not None and not _is_name(value):
            yield WrongClient(
                label, "un nom distinctif (RFC 4514) est attendu", "expected a distinguished name (RFC 4514)"
            )
    if table.certificate_issuer is not None and table.certificate_subject is None:
        yield WrongClient("certificate_issuer", "sans certificate_subject", "without certificate_subject")
    if table.certificate_sha256 is not None and not _SHA256.fullmatch(_hexadecimal(table.certificate_sha256)):
        yield WrongClient("certificate_sha256", "64 chiffres hexadécimaux", "64 hexadecimal digits")
    if table.scopes is not None and meaningless(table.scopes):
        yield WrongClient("scopes", "une portée n'accorde rien", "a scope grants nothing")
    slugs = [*(table.managers or ()), *([] if table.manager is None else [table.manager])]
    if not all(SLUG.fullmatch(one) for one in slugs):
        yield WrongClient("managers", "identifiants de gestionnaires attendus", "expected ids of managers")
    if not set(table.regions or ()) <= REGIONS.keys():
        yield WrongClient("regions", "codes TRE_R30 attendus", "expected codes of TRE_R30")
    if table.rate is not None and not 0 < table.rate <= 100_000:
        yield WrongClient("rate", "un nombre de requêtes par seconde", "a number of requests a second")


def _is_name(text: str) -> bool:
    try:
        name_of(text)
    except ValueError:
        return False
    return True


def _hexadecimal(text: str) -> str:
    return text.replace(":", "").lower()
