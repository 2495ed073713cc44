"""All that was read for one manager: secrets, keys, TLS contexts; and when to read it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from adapters.credentials import secrets
from adapters.credentials.errors import unusable
from adapters.credentials.secrets import Stamp, authorization, secret, secret_files, stamps, tls_files
from adapters.credentials.signing import SigningKey, read_key
from adapters.credentials.tls import Tls, manager_tls, token_tls
from registry.model import AuthType, Gestionnaire, TokenAuth


@dataclass(frozen=True, slots=True)
class Material:
    """`authorization`: the header, where it does not come of a token endpoint. `stamps`: of the files as they were read."""

    stamps: Mapping[str, Stamp | None]
    tls: Tls
    token_tls: Tls
    authorization: str | None = field(default=None, repr=False)
    client_secret: str | None = field(default=None, repr=False)
    assertion_key: SigningKey | None = None
    identity_key: SigningKey | None = None

    @property
    def may_change(self) -> bool:
        return bool(self.stamps)


def read_material(manager: Gestionnaire, environ: Mapping[str, str]) -> Material:
    """Blocking: reads files. Raises `ConfigurationError`."""
    seen = stamps(
        (*tls_files(manager), *secret_files(manager))
    )  # before: what changes meanwhile is read again
    empty = Material(seen, manager_tls(manager), token_tls(manager))
    return _with_secrets(empty, manager, environ)


def reread_material(known: Material, manager: Gestionnaire, environ: Mapping[str, str]) -> Material:
    """What the files hold now; `known` itself where none has changed. Blocking. Raises `ConfigurationError`.

    TLS contexts are made anew only where their files changed: a new one parts with the connections that are kept open.
    """
    now = secrets.stamps(known.stamps)
    if now == known.stamps:
        return known
    tls = {file: now[file] for file in tls_files(manager)}
    if all(known.stamps[file] == stamp for file, stamp in tls.items()):
        return _with_secrets(replace(known, stamps=now), manager, environ)
    fresh = replace(known, stamps=now, tls=manager_tls(manager), token_tls=token_tls(manager))
    return _with_secrets(fresh, manager, environ)


def _with_secrets(known: Material, manager: Gestionnaire, environ: Mapping[str, str]) -> Material:
    auth, identity = manager.auth, manager.identity
    client_secret = assertion = signing = None
    if auth.type is AuthType.OAUTH2:
        match auth.at_token_endpoint:
            case TokenAuth.BASIC | TokenAuth.POST:
                client_secret = secret(
                    "client_secret", auth.client_secret_env, auth.client_secret_file, environ
                )
            case TokenAuth.PRIVATE_KEY_JWT:
                file = auth.assertion_key_file or ""
                assertion = read_key(
                    file, auth.assertion_kid, auth.assertion_alg, field="auth.assertion_key_file"
                )
            case TokenAuth.TLS:
                if not auth.cert_file:
                    raise unusable("auth.client_secret_env", "missing")
    if identity is not None:
        signing = read_key(identity.key_file or "", identity.kid, identity.alg, field="identity.key_file")
    return replace(
        known,
        authorization=authorization(auth, environ),
        client_secret=client_secret,
        assertion_key=assertion,
        identity_key=signing,
    )
