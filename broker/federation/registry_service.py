"""What operators do with the registry: the use cases behind the JSON API and the FHIR view."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from broker.errors import FailureKind, ManagerError, RequestError
from registry.model import REGIONS, Auth, Gestionnaire, Identity, Registered, Skills, Status
from registry.ports import GestionnaireStore
from registry.validation import InvalidDeclarationError, Problem, declaration

Checker = Callable[[Gestionnaire], Awaitable[Skills]]
"""Finds out what a manager can do. Raises `ManagerError`."""


Admit = Callable[[Gestionnaire], Awaitable[None]]
"""Refuses what this installation does not take. Raises `InvalidDeclarationError`."""

_TOLD_TO_OPERATORS = {
    FailureKind.CREDENTIALS: "registry.credentials",
    FailureKind.ADDRESS: "registry.address",
}
"""Failures of which whoever asks for a check is told more than clients are: what to set right."""


async def _take_all(_: Gestionnaire) -> None:
    """Of an installation that has no rules of its own."""


class VersionedStore(GestionnaireStore, Protocol):
    async def known_slugs(self) -> Sequence[str]:
        """Every slug that has a history, removed ones too, sorted."""
        ...


class RegistryService:
    """Raises `RequestError`s of the `registry.*` rows, `StoreError`, and from `check` also `ManagerError`.

    `refresh` is called after each change, so that the process that made it acts on it at once. `admit` judges what is
    declared, beyond the rules that hold everywhere.
    """

    def __init__(
        self,
        store: VersionedStore,
        check: Checker,
        refresh: Callable[[], Awaitable[object]] | None = None,
        admit: Admit = _take_all,
    ) -> None:
        self._store = store
        self._check = check
        self._refresh = refresh
        self._admit = admit

    async def list(self, *, status: Status | None = None, region: str | None = None) -> Sequence[Registered]:
        return [
            one
            for one in await self._store.all()
            if (status is None or one.gestionnaire.status is status)
            and (region is None or one.gestionnaire.region == region)
        ]

    async def get(self, slug: str) -> Registered:
        found = await self._store.get(slug)
        if found is None:
            raise RequestError("registry.unknown", slug=slug)
        return found

    async def create(self, raw: object) -> Registered:
        """`raw`: the parsed JSON of a declaration. `registry.exists` where the slug is taken."""
        wanted = declaration(raw)
        await self._admit(wanted)
        try:
            return await self._put(wanted, expected_revision=0)
        except RequestError as error:
            if error.key != "registry.conflict":
                raise
            raise RequestError("registry.exists", slug=wanted.id) from error

    async def replace(self, slug: str, raw: object, *, expected_revision: int | None = None) -> Registered:
        """Replace a declaration that exists. `registry.precondition` where its revision is another.

        What an answer does not show in full can be sent back as it was shown: an `auth` or `identity` that is left
        out, or is as `shown` gave it, stays as it is. So does a `status` that is left out.
        """
        current = await self.get(slug)
        wanted = declaration(_completed(raw, current.gestionnaire))
        if wanted.id != slug:
            raise InvalidDeclarationError(
                [Problem("id", "doit être celui de l'adresse", "must be the one in the address")]
            )
        await self._admit(wanted)
        revision = current.revision if expected_revision is None else expected_revision
        try:
            return await self._put(wanted, expected_revision=revision)
        except RequestError as error:
            if error.key != "registry.conflict":
                raise
            raise RequestError("registry.precondition", slug=slug) from error

    async def set_status(self, slug: str, status: Status) -> Registered:
        while True:
            current = await self.get(slug)
            wanted = msgspec.structs.replace(current.gestionnaire, status=status)
            try:
                return await self._put(wanted, expected_revision=current.revision)
            except RequestError as error:
                if error.key != "registry.conflict":
                    raise

    async def remove(self, slug: str) -> None:
        if not await self._store.remove(slug):
            raise RequestError("registry.unknown", slug=slug)
        await self._changed()

    async def check(self, slug: str) -> Registered:
        """Find out what a manager can do, suspended or not, and keep it."""
        gestionnaire = (await self.get(slug)).gestionnaire
        try:
            skills = await self._check(gestionnaire)
        except ManagerError as error:
            region = REGIONS.get(gestionnaire.region, gestionnaire.region)
            named = error.params | {"name": gestionnaire.name, "region": region}
            told = ManagerError(error.kind, status=error.status, sent=error.sent, **named)
            told.key = _TOLD_TO_OPERATORS.get(error.kind, told.key)
            raise told from error
        await self._store.save_skills(slug, skills)
        await self._changed()
        return await self.get(slug)

    async def history(self, slug: str) -> Sequence[tuple[Registered, bool]]:
        """Versions of one manager, newest first, removals flagged; empty where there never was one."""
        return await self._store.history(slug)

    async def whole_history(self) -> Sequence[tuple[Registered, bool]]:
        """Versions of every manager there ever was, newest first."""
        versions = [
            version for slug in await self._store.known_slugs() for version in await self._store.history(slug)
        ]
        return sorted(versions, key=lambda version: version[0].updated_at, reverse=True)

    async def _put(self, wanted: Gestionnaire, *, expected_revision: int) -> Registered:
        registered = await self._store.put(wanted, expected_revision=expected_revision)
        await self._changed()
        return registered

    async def _changed(self) -> None:
        if self._refresh is not None:
            await self._refresh()


def _completed(raw: object, current: Gestionnaire) -> object:
    """`raw` with the status, the auth and the identity of `current` where it does not mean to change them."""
    if not isinstance(raw, Mapping):
        return raw
    kept: dict[str, object] = {}
    if "status" not in raw:
        kept["status"] = current.status.value
    if "auth" not in raw or raw["auth"] == msgspec.to_builtins(_shown_auth(current.auth)):
        kept["auth"] = msgspec.to_builtins(current.auth)
    if "identity" not in raw or raw["identity"] == msgspec.to_builtins(_shown_identity(current.identity)):
        kept["identity"] = msgspec.to_builtins(current.identity)
    return {**raw, **kept}


def shown(registered: Registered) -> Registered:
    """What may leave the broker: of `auth` the type and the names of environment variables, of `identity` no file."""
    gestionnaire = registered.gestionnaire
    public = msgspec.structs.replace(
        gestionnaire, auth=_shown_auth(gestionnaire.auth), identity=_shown_identity(gestionnaire.identity)
    )
    return msgspec.structs.replace(registered, gestionnaire=public)


def _shown_auth(auth: Auth) -> Auth:
    return Auth(
        type=auth.type,
        token_env=auth.token_env,
        password_env=auth.password_env,
        client_secret_env=auth.client_secret_env,
    )


def _shown_identity(identity: Identity | None) -> Identity | None:
    return None if identity is None else msgspec.structs.replace(identity, key_file=None)
