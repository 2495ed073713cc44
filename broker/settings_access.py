"""The settings of access control: the issuer of tokens, TLS, proxies, the directory of clients."""

from __future__ import annotations

import re
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings

from broker.core.access.algorithms import DEFAULT, parse_algorithms
from broker.settings_fields import Seconds, doc
from broker.settings_sync import networks

CONSOLE_SCOPES: Final = (
    "openid profile user/*.rs cds/console cds/registry.read cds/registry.write cds/sync.read cds/sync.write "
    "cds/audit.read"
)
"""All that its pages can use."""

_SCOPES = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")  # RFC 6749, section 3.3


class TokenUse(StrEnum):
    IGNORE = "ignore"  # a bearer token is used until it expires (RFC 6750)
    ONCE = "once"


class AccessSettings(BaseSettings):
    """A part of `broker.settings.Settings`, which is what is used."""

    oidc_issuer: Annotated[
        str | None,
        doc(
            "who issues the tokens: their `iss`, to the letter",
            "émetteur des jetons : leur `iss`, à la lettre",
        ),
    ] = None
    oidc_audience: Annotated[
        str | None,
        doc(
            "what tokens for this broker have as `aud`; several with commas",
            "valeur de `aud` des jetons destinés à ce courtier ; plusieurs séparées par des virgules",
        ),
    ] = None
    oidc_jwks_url: Annotated[
        str | None,
        doc(
            "the issuer's keys; unset: by discovery (ISSUER/.well-known/openid-configuration)",
            "clés de l'émetteur ; sinon par découverte (ISSUER/.well-known/openid-configuration)",
        ),
    ] = None
    oidc_algorithms: Annotated[
        str,
        doc(
            "signature algorithms of tokens; of RS, PS and ES 256, 384, 512, and EdDSA",
            "algorithmes de signature admis ; parmi RS, PS et ES 256, 384, 512, et EdDSA",
        ),
    ] = DEFAULT
    oidc_leeway: Annotated[
        float,
        doc(
            "seconds by which the issuer's clock may differ",
            "secondes d'écart admises avec l'horloge de l'émetteur",
            ge=0,
            le=300,
        ),
    ] = 30.0
    oidc_bound: Annotated[
        bool,
        doc(
            "refuse tokens that are not bound to a client certificate (RFC 8705)",
            "refuser les jetons qui ne sont pas liés à un certificat de client (RFC 8705)",
        ),
    ] = False
    oidc_jti: Annotated[
        TokenUse,
        doc(
            "ignore: a token serves until it expires; once: it serves once, and needs a `jti`",
            "ignore : un jeton sert jusqu'à son expiration ; once : il sert une fois, et porte un `jti`",
        ),
    ] = TokenUse.IGNORE
    oidc_keys_max_age: Annotated[
        Seconds,
        doc(
            "seconds for which the issuer's keys are good when it cannot be reached",
            "secondes de validité des clés de l'émetteur quand il est injoignable",
        ),
    ] = 3_600.0
    oidc_networks: Annotated[
        str,
        doc(
            "networks where the issuer may be beside public addresses, CIDR with commas (10.1.0.0/16)",
            "réseaux où peut se trouver l'émetteur en plus des adresses publiques, CIDR séparés par des virgules",
        ),
    ] = ""
    oidc_tls_ca: Annotated[
        Path | None,
        doc(
            "who vouches for the issuer's server, PEM; unset: the system's authorities",
            "autorités du serveur de l'émetteur, PEM ; sinon celles du système",
        ),
    ] = None
    oidc_introspection_url: Annotated[
        str | None,
        doc(
            "where to ask about opaque tokens (RFC 7662); unset: they are refused",
            "où se renseigner sur les jetons opaques (RFC 7662) ; sinon ils sont refusés",
        ),
    ] = None
    oidc_introspection_client: Annotated[
        str | None, doc("the broker's client id there", "identifiant du courtier à cette adresse")
    ] = None
    oidc_introspection_secret: Annotated[
        SecretStr | None, doc("the broker's client secret there", "secret du courtier à cette adresse")
    ] = None
    oidc_introspection_secret_file: Annotated[
        Path | None,
        doc(
            "file that holds that secret, read at each use",
            "fichier qui contient ce secret, relu à chaque usage",
        ),
    ] = None
    clients: Annotated[
        Path | None,
        doc(
            "TOML file of clients: scopes, managers, certificates; read at start and on SIGHUP",
            "fichier TOML des clients : portées, gestionnaires, certificats ; relu sur SIGHUP",
        ),
    ] = None
    tls_cert: Annotated[
        Path | None,
        doc(
            "certificate to serve with, with its chain, PEM, read again on SIGHUP; unset: no TLS",
            "certificat du serveur et sa chaîne, PEM, relu sur SIGHUP ; sinon pas de TLS",
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        doc(
            "key of that certificate, PEM; unset: in the same file",
            "clé de ce certificat ; sinon même fichier",
        ),
    ] = None
    tls_client_ca: Annotated[
        Path | None,
        doc(
            "authorities of client certificates, PEM; unset: none is asked for",
            "autorités des certificats de clients, PEM ; sinon aucun n'est demandé",
        ),
    ] = None
    tls_client_crl: Annotated[
        Path | None,
        doc(
            "revoked client certificates, a CRL of each of these authorities, PEM, read again on SIGHUP",
            "certificats révoqués : une CRL par autorité, PEM, relues sur SIGHUP",
        ),
    ] = None
    trusted_proxies: Annotated[
        str,
        doc(
            "networks of proxies that end TLS before the broker, CIDR with commas; others are not believed",
            "réseaux des mandataires qui terminent TLS devant le courtier, CIDR ; les autres ne sont pas crus",
        ),
    ] = ""
    proxy_cert_header: Annotated[
        str,
        doc(
            "header in which such a proxy gives the verified client certificate, URL-encoded PEM",
            "en-tête où un tel mandataire donne le certificat vérifié du client, PEM encodé comme une URL",
        ),
    ] = "X-SSL-Client-Cert"

    console_client_id: Annotated[
        str | None,
        doc(
            "the console's client id at the issuer, with which people sign in; unset: they cannot",
            "identifiant de la console chez l'émetteur, pour que des personnes se connectent ; sinon elles ne le peuvent",
        ),
    ] = None
    console_client_secret: Annotated[
        SecretStr | None,
        doc(
            "its secret; unset: a public client, bound to its codes by PKCE alone",
            "son secret ; sinon client public, lié à ses codes par PKCE seul",
        ),
    ] = None
    console_client_secret_file: Annotated[
        Path | None,
        doc("file that holds it, read at each use", "fichier qui contient ce secret, relu à chaque usage"),
    ] = None
    console_scopes: Annotated[
        str,
        doc(
            "scopes asked for, with blanks; the issuer grants those that the person has",
            "portées demandées, séparées par des blancs ; l'émetteur accorde celles que la personne a",
        ),
    ] = CONSOLE_SCOPES
    console_acr: Annotated[
        str,
        doc(
            "authentication contexts (acr), with blanks, one of which people must have met; Pro Santé Connect: eidas1",
            "contextes d'authentification (acr), séparés par des blancs, dont un est exigé ; Pro Santé Connect : eidas1",
        ),
    ] = ""
    console_session_idle: Annotated[
        Seconds,
        doc(
            "seconds without use after which somebody is signed out of the console",
            "secondes d'inactivité après lesquelles une personne est déconnectée de la console",
        ),
    ] = 1_800.0
    console_session: Annotated[
        Seconds,
        doc(
            "seconds after which somebody has to sign in again, however active",
            "secondes après lesquelles une personne se reconnecte, même active",
        ),
    ] = 28_800.0

    metrics_open: Annotated[
        bool,
        doc(
            "show /metrics to anybody, without credentials", "montrer /metrics à tous, sans authentification"
        ),
    ] = False

    @field_validator("oidc_issuer", "oidc_jwks_url", "oidc_introspection_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
        except ValueError:
            parts = urlsplit("")
        secure = parts.scheme == "https" or (parts.scheme == "http" and _local(parts.hostname))
        if not secure or not parts.hostname or "@" in parts.netloc or parts.fragment:
            raise PydanticCustomError("https_url", "an https address (http on the loopback address only)")
        return value

    @field_validator("oidc_algorithms")
    @classmethod
    def _algorithms(cls, value: str) -> str:
        try:
            parse_algorithms(value)
        except ValueError:
            raise PydanticCustomError("algorithms", "asymmetric algorithms, as RS256,ES256") from None
        return value

    @field_validator("oidc_networks", "trusted_proxies")
    @classmethod
    def _access_networks(cls, value: str) -> str:
        try:
            networks(value)
        except ValueError:
            raise PydanticCustomError("networks", "networks as 10.1.0.0/16, with commas") from None
        return value

    @field_validator("console_scopes")
    @classmethod
    def _console_scopes(cls, value: str) -> str:
        if _SCOPES.fullmatch(value) is None or "openid" not in value.split(" "):
            raise PydanticCustomError("console_scopes", "scopes with one blank between, openid among them")
        return value

    @field_validator("proxy_cert_header")
    @classmethod
    def _header(cls, value: str) -> str:
        if re.fullmatch(r"[A-Za-z0-9-]{1,64}", value) is None:
            raise PydanticCustomError("header", "the name of a header")
        return value

    @model_validator(mode="after")
    def _access_agrees(self) -> AccessSettings:
        if self.oidc_introspection_secret is not None and self.oidc_introspection_secret_file is not None:
            raise PydanticCustomError(
                "two_introspection_secrets",
                "CDS_OIDC_INTROSPECTION_SECRET and CDS_OIDC_INTROSPECTION_SECRET_FILE exclude each other",
            )
        if self.console_client_secret is not None and self.console_client_secret_file is not None:
            raise PydanticCustomError(
                "two_console_secrets",
                "CDS_CONSOLE_CLIENT_SECRET and CDS_CONSOLE_CLIENT_SECRET_FILE exclude each other",
            )
        if self.tls_cert is None and any((self.tls_key, self.tls_client_ca, self.tls_client_crl)):
            raise PydanticCustomError("tls_alone", "CDS_TLS_* need CDS_TLS_CERT")
        if self.tls_client_crl is not None and self.tls_client_ca is None:
            raise PydanticCustomError("crl_alone", "CDS_TLS_CLIENT_CRL needs CDS_TLS_CLIENT_CA")
        return self

    @property
    def audiences(self) -> frozenset[str]:
        return frozenset(one.strip() for one in (self.oidc_audience or "").split(",") if one.strip())


def _local(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False
