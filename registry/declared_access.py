"""What a declaration says of credentials and of whom the broker asks for: `auth`, `identity`, and addresses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from registry.model import Auth, AuthType, Gestionnaire, Identity, TokenAuth
from registry.problem import Problem

MAX_IDENTITY_SECONDS = 600

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384"})

ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
"""Upper case on purpose: what looks otherwise is more likely the secret itself, pasted in the wrong place."""

HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_NOT_OURS_TO_GIVE = re.compile(
    r"(accept|content|if|sec|transfer|proxy|x-request)(-.*)?|connection|cookie|date|expect|forwarded|host|keep-alive|prefer"
    r"|te|trailer|upgrade|user-agent|via|x-forwarded-(for|host|proto)"
)
"""Headers that mean something else in a request."""

SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")  # RFC 6749, appendix A.4
CODE = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")

_SECRETS = ("token", "password", "client_secret")
_CERTIFICATE = ("cert_file", "key_file")

NEEDS: Mapping[AuthType, tuple[tuple[str, ...], ...]] = {
    AuthType.NONE: (),
    AuthType.BEARER: (("token_env", "token_file"),),
    AuthType.BASIC: (("username",), ("password_env", "password_file")),
    AuthType.OAUTH2: (
        ("token_url",),
        ("client_id",),
        ("client_secret_env", "client_secret_file", "assertion_key_file", "cert_file"),
    ),
    AuthType.MTLS: (("cert_file",), ("key_file",)),
}
"""For each type, groups of fields of which one is needed."""

TAKES: Mapping[AuthType, frozenset[str]] = {
    AuthType.NONE: frozenset(),
    AuthType.BEARER: frozenset({"token_env", "token_file", *_CERTIFICATE}),
    AuthType.BASIC: frozenset({"username", "password_env", "password_file", *_CERTIFICATE}),
    AuthType.OAUTH2: frozenset(
        {
            *("token_url", "client_id", "client_secret_env", "client_secret_file", "token_auth", "scope"),
            *("resource", "token_tls_ca", "assertion_key_file", "assertion_kid", "assertion_alg"),
            *("assertion_audience", *_CERTIFICATE),
        }
    ),
    AuthType.MTLS: frozenset(_CERTIFICATE),
}

_PROVEN_BY: Mapping[TokenAuth, tuple[str, ...]] = {
    TokenAuth.BASIC: ("client_secret_env", "client_secret_file"),
    TokenAuth.POST: ("client_secret_env", "client_secret_file"),
    TokenAuth.PRIVATE_KEY_JWT: ("assertion_key_file",),
    TokenAuth.TLS: ("cert_file",),
}


def check_access(one: Gestionnaire) -> Iterable[Problem]:
    """Every rule on `auth` and `identity` that a well-typed declaration breaks."""
    yield from _check_auth(one.auth)
    if one.identity is not None:
        yield from _check_identity(one.identity, one.auth)
    yield from _check_encrypted(one)


def check_address(field: str, address: str) -> list[Problem]:
    """An absolute http(s) address, and nothing else in it."""

    def problem(fr: str, en: str) -> list[Problem]:
        return [Problem(field, fr, en)]

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


def _check_auth(auth: Auth) -> Iterable[Problem]:
    for group in NEEDS[auth.type]:
        if not any(getattr(auth, name) for name in group):
            yield Problem(
                "auth", f"{auth.type} demande {' ou '.join(group)}", f"{auth.type} needs {' or '.join(group)}"
            )
    given = [name for name in auth.__struct_fields__ if name != "type" and getattr(auth, name) is not None]
    for name in given:
        if name not in TAKES[auth.type]:
            yield Problem(f"auth.{name}", f"sans objet avec {auth.type}", f"means nothing with {auth.type}")
    for name in _SECRETS:
        if getattr(auth, f"{name}_env") is not None and getattr(auth, f"{name}_file") is not None:
            yield Problem(f"auth.{name}_file", f"exclut {name}_env", f"excludes {name}_env")
        variable = getattr(auth, f"{name}_env")
        if variable is not None and not ENV_NAME.fullmatch(variable):
            yield Problem(
                f"auth.{name}_env",
                "nom de variable d'environnement en majuscules attendu, pas le secret",
                "expected an upper-case environment variable name, not the secret",
            )
    if auth.type is AuthType.OAUTH2:
        yield from _check_oauth2(auth)


def _check_oauth2(auth: Auth) -> Iterable[Problem]:
    needed = _PROVEN_BY[auth.at_token_endpoint]
    if auth.token_auth is not None and not any(getattr(auth, name) for name in needed):
        way = auth.token_auth
        yield Problem(
            "auth.token_auth", f"{way} demande {' ou '.join(needed)}", f"{way} needs {' or '.join(needed)}"
        )
    yield from _check_alg("auth.assertion_alg", auth.assertion_alg)
    if auth.scope is not None and not SCOPE.fullmatch(auth.scope):
        yield Problem("auth.scope", "portées séparées par une espace", "scopes, one space between them")
    if auth.token_url is None:
        return
    wrong = check_address("auth.token_url", auth.token_url)
    if not wrong and not _encrypted(auth.token_url):
        wrong = [Problem("auth.token_url", "https attendu (RFC 6749, 3.2)", "expected https (RFC 6749, 3.2)")]
    yield from wrong


def _check_identity(identity: Identity, auth: Auth) -> Iterable[Problem]:
    if not identity.key_file:
        yield Problem("identity", "jwt demande key_file", "jwt needs key_file")
    if not identity.audience.strip():
        yield Problem("identity.audience", "obligatoire", "required")
    yield from _check_alg("identity.alg", identity.alg)
    header = identity.header
    if not HEADER.fullmatch(header) or _NOT_OURS_TO_GIVE.fullmatch(header.lower()):
        yield Problem(
            "identity.header", "nom d'un en-tête libre attendu", "expected the name of a free header"
        )
    elif header.lower() == "authorization" and auth.type not in (AuthType.NONE, AuthType.MTLS):
        yield Problem("identity.header", f"déjà pris par auth {auth.type}", f"taken by auth {auth.type}")
    if not 5 <= identity.seconds <= MAX_IDENTITY_SECONDS:
        yield Problem(
            "identity.seconds", f"de 5 à {MAX_IDENTITY_SECONDS}", f"from 5 to {MAX_IDENTITY_SECONDS}"
        )
    if identity.purpose is not None and not CODE.fullmatch(identity.purpose):
        yield Problem("identity.purpose", "code v3-PurposeOfUse attendu", "expected a v3-PurposeOfUse code")


def _check_alg(field: str, alg: str | None) -> Iterable[Problem]:
    if alg is not None and alg not in ALGORITHMS:
        named = ", ".join(sorted(ALGORITHMS))
        yield Problem(field, f"un de {named} attendu", f"expected one of {named}")


def _check_encrypted(one: Gestionnaire) -> Iterable[Problem]:
    """RFC 6750, 5.3; RFC 7617, 4: what is sent in clear is anybody's. A client certificate needs TLS to be shown at all."""
    address, auth = one.base_url, one.auth
    if check_address("base_url", address) or address.startswith("https:"):
        return
    if auth.cert_file:
        yield Problem("auth.cert_file", "demande une base_url en https", "needs a base_url with https")
    elif (auth.type is not AuthType.NONE or one.identity is not None) and not _encrypted(address):
        field = "auth" if auth.type is not AuthType.NONE else "identity"
        yield Problem(
            field,
            "passerait en clair : base_url en https attendue (http sur la boucle locale seulement)",
            "would be sent in clear: expected a base_url with https (http on the loopback address only)",
        )


def _encrypted(address: str) -> bool:
    """https, or a way that does not leave the machine."""
    parts = urlsplit(address)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
