"""What this installation does not take of a declaration, whoever sends it: said when it is registered.

Whoever may register managers is not thereby the master of the machine. An address could lead to what only the inside reaches
(server-side request forgery), and a name of a variable or file could have the broker's own secrets sent to an address of
their choice. Addresses are judged again at each connection (`adapters.checked_resolver`), for what a name then leads to; one
that cannot be resolved now is taken: a manager may be registered before it is there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from broker.core.hook_address import AddressRules
from registry.model import Gestionnaire
from registry.problem import Problem
from registry.validation import InvalidDeclarationError

_LOOK_UP_SECONDS: Final = 2.0

_log = logging.getLogger("broker.registry")


@dataclass(frozen=True, slots=True)
class Admission:
    """`own_variables`: the broker's settings. `own_files`, `own_folder`: where its own secrets are."""

    rules: AddressRules
    own_variables: Collection[str] = ()
    own_files: Collection[Path] = ()
    own_folder: Path | None = None

    async def __call__(self, manager: Gestionnaire) -> None:
        """Raises `InvalidDeclarationError`."""
        problems = await asyncio.to_thread(lambda: [*self._own_secrets(manager)])
        for field, url in _addresses(manager):
            if not await self._leads_where_it_may(manager.id, field, url):
                problems.append(
                    Problem(
                        field,
                        "mène à une adresse qui n'est pas publique ; si elle doit être appelée, ajoutez son réseau à "
                        "CDS_MANAGER_NETWORKS",
                        "leads to an address that is not public; if it is to be called, add its network to "
                        "CDS_MANAGER_NETWORKS",
                    )
                )
        if problems:
            raise InvalidDeclarationError(problems)

    async def _leads_where_it_may(self, slug: str, field: str, url: str) -> bool:
        host = urlsplit(url).hostname or ""
        if not self.rules.permits_host(host):
            return False
        found = [] if _is_address(host) else await _looked_up(host)
        if found and not any(self.rules.permits(ip_address(one)) for one in found):
            # Said here alone: to whoever registers, it would tell the names that only the inside knows.
            _log.warning("manager %s: %s leads to %s, which may not be called", slug, field, ", ".join(found))
            return False
        return True

    def _own_secrets(self, manager: Gestionnaire) -> Iterable[Problem]:
        auth = manager.auth
        for name in ("token", "password", "client_secret"):
            variable, file = getattr(auth, f"{name}_env"), getattr(auth, f"{name}_file")
            if variable is not None and variable in self.own_variables:
                yield Problem(
                    f"auth.{name}_env",
                    "réglage du courtier, non un secret pour un gestionnaire",
                    "a setting of the broker, not a secret for a manager",
                )
            if file is not None and self._is_own(Path(file)):
                yield Problem(
                    f"auth.{name}_file",
                    "fichier du courtier, non un secret pour un gestionnaire",
                    "a file of the broker, not a secret for a manager",
                )

    def _is_own(self, file: Path) -> bool:
        try:
            real = file.resolve()
        except (OSError, RuntimeError, ValueError):
            return True  # a loop of links, or no path at all
        folder = None if self.own_folder is None else self.own_folder.resolve()
        return (folder is not None and real.is_relative_to(folder)) or any(
            real == own.resolve() for own in self.own_files
        )


def _addresses(manager: Gestionnaire) -> Iterable[tuple[str, str]]:
    yield "base_url", manager.base_url
    if manager.auth.token_url is not None:
        yield "auth.token_url", manager.auth.token_url


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def _looked_up(host: str) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_LOOK_UP_SECONDS):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # TimeoutError too
        return ()
    return [str(one[4][0]).partition("%")[0] for one in found]
