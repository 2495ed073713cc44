"""The settings: `CDS_*` environment variables, else a TOML file, else the defaults below.

Order of precedence: a command-line option, then the environment, then the TOML file (`--config`,
`CDS_CONFIG`; keys are the names without `CDS_`, in lower case), then the default. Everything wrong is said at
once, to the operator, as `ConfigurationError("config.invalid")`. Values are never repeated in errors: some
are secrets.
"""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from broker.errors import ConfigurationError
from broker.settings_access import AccessSettings
from broker.settings_audit import NOWHERE, AuditSettings
from broker.settings_errors import translated
from broker.settings_fields import Bytes, Seconds, doc
from broker.settings_limits import LimitSettings
from broker.settings_process import ProcessSettings
from broker.settings_sync import SyncSettings, networks
from broker.settings_tails import TailSettings
from broker.settings_tracing import TracingSettings
from registry.model import SLUG

PREFIX = "CDS_"


class AuthMode(StrEnum):
    OIDC = "oidc"
    MTLS = "mtls"
    NONE = "none"  # loopback addresses only


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of the table of settings shown by `serve --help` and the README."""

    name: str  # CDS_…
    default: str
    en: str
    fr: str


class Settings(
    AccessSettings, AuditSettings, LimitSettings, ProcessSettings, SyncSettings, TailSettings, TracingSettings
):
    """Everything that can be set. Use `Settings.load`, which reads the TOML file too and translates
    errors."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True, hide_input_in_errors=True
    )

    config: Annotated[Path | None, doc("TOML file of these settings", "fichier TOML de ces réglages")] = None
    data_dir: Annotated[
        Path, doc("where the embedded store and secret are kept", "dossier du magasin embarqué et du secret")
    ] = Path(".cds-broker")
    host: Annotated[str, doc("address to listen on", "adresse d'écoute")] = "127.0.0.1"
    port: Annotated[int, doc("port to listen on", "port d'écoute", ge=0, le=65_535)] = 8080
    workers: Annotated[int, doc("processes that serve", "nombre de processus", ge=1, le=64)] = 1
    public_url: Annotated[
        str | None,
        doc("base address in links; default http://HOST:PORT/fhir", "adresse de base dans les liens"),
    ] = None
    gestionnaires: Annotated[
        Path | None,
        doc("TOML file of managers, read at start and on SIGHUP", "fichier TOML des gestionnaires"),
    ] = None
    auth: Annotated[
        AuthMode,
        doc("oidc, mtls or none (loopback only)", "oidc, mtls ou none (boucle locale seulement)"),
    ] = AuthMode.OIDC
    redis_url: Annotated[
        SecretStr | None,
        doc("Redis or Valkey server; unset: embedded, under CDS_DATA_DIR", "serveur Redis ; sinon embarqué"),
    ] = None
    redis_url_file: Annotated[
        Path | None,
        doc(
            "file that holds that address, for its password",
            "fichier qui contient cette adresse, pour son mot de passe",
        ),
    ] = None
    redis_prefix: Annotated[
        str, doc("prefix of all keys, to share a server", "préfixe des clés, pour partager un serveur")
    ] = "cds"
    locator_secret: Annotated[
        SecretStr | None,
        doc(
            "secret of the keyed hashes, 16 characters or more; generated when the store is embedded",
            "secret des empreintes, 16 caractères au moins ; produit si le magasin est embarqué",
        ),
    ] = None
    locator_secret_file: Annotated[
        Path | None, doc("file that holds that secret", "fichier qui contient ce secret")
    ] = None
    locator_previous_secret: Annotated[
        SecretStr | None,
        doc(
            "the secret before this one: its index answers until a new one is filled",
            "le secret d'avant : son index répond jusqu'à ce qu'un nouveau soit rempli",
        ),
    ] = None
    locator_previous_secret_file: Annotated[
        Path | None, doc("file that holds the secret before", "fichier qui contient le secret d'avant")
    ] = None
    federation_secret: Annotated[
        SecretStr | None,
        doc(
            "secret of page links and of this federation's name among brokers, 16 characters or more; unset: that of the "
            "locator",
            "secret des liens de page et du nom de cette fédération, 16 caractères au moins ; sinon celui de l'index",
        ),
    ] = None
    federation_secret_file: Annotated[
        Path | None, doc("file that holds that secret", "fichier qui contient ce secret")
    ] = None
    locator: Annotated[
        bool,
        doc(
            "keep an index of who holds what, and ask holders alone",
            "tenir l'index de qui détient quoi, et n'interroger que les détenteurs",
        ),
    ] = True
    locator_freshness: Annotated[
        Seconds,
        doc(
            "seconds for which what the index knows of a manager is good",
            "secondes pendant lesquelles l'index d'un gestionnaire fait foi",
        ),
    ] = 30.0
    locator_poll: Annotated[
        Seconds,
        doc(
            "seconds between two looks at a manager's changes",
            "secondes entre deux relevés des changements d'un gestionnaire",
        ),
    ] = 2.0
    locator_overlap: Annotated[
        Seconds,
        doc(
            "seconds of changes that each look reads again",
            "secondes de changements que chaque relevé relit",
        ),
    ] = 10.0
    locator_recrawl: Annotated[
        float,
        doc(
            "seconds after which a manager that does not show all its changes is crawled anew",
            "secondes après lesquelles un gestionnaire qui ne montre pas tout est parcouru à nouveau",
            ge=1,
        ),
    ] = 21_600.0
    locator_circles: Annotated[
        int,
        doc(
            "circles that a new index is laid out for",
            "nombre de cercles pour lequel un nouvel index est taillé",
            ge=1_000,
            le=1_000_000_000,
        ),
    ] = 1_000_000
    search_deadline: Annotated[
        Seconds, doc("seconds for a whole search", "secondes pour une recherche entière")
    ] = 5.0
    write_deadline: Annotated[
        Seconds, doc("seconds for a whole write", "secondes pour une écriture entière")
    ] = 10.0
    write_settle: Annotated[
        Seconds,
        doc(
            "seconds between two looks at what became of a write that was not answered",
            "secondes entre deux regards sur une écriture restée sans réponse",
        ),
    ] = 5.0
    home: Annotated[
        str | None,
        doc(
            "manager of new resources that nothing else sends anywhere; unset: refused, with what is missing",
            "gestionnaire des ressources nouvelles que rien d'autre n'oriente ; sinon refus motivé",
        ),
    ] = None
    probe_interval: Annotated[
        Seconds, doc("seconds between probes of a failing manager", "secondes entre deux sondes d'une panne")
    ] = 5.0
    manager_networks: Annotated[
        str,
        doc(
            "networks where managers and their token endpoints may be beside public addresses, CIDR with commas; "
            "with CDS_AUTH=none the loopback address too",
            "réseaux où peuvent se trouver les gestionnaires et leurs serveurs de jetons en plus des adresses "
            "publiques, CIDR séparés par des virgules ; avec CDS_AUTH=none, la boucle locale aussi",
        ),
    ] = ""
    registry_refresh: Annotated[
        Seconds,
        doc("seconds between full re-reads of the registry", "secondes entre deux relectures du registre"),
    ] = 30.0
    default_count: Annotated[
        int, doc("matches on a page when _count is absent", "résultats par page sans _count", ge=1)
    ] = 20
    max_count: Annotated[int, doc("largest page given", "page la plus grande donnée", ge=1, le=10_000)] = 200
    page_ttl: Annotated[
        int, doc("seconds a page link stays good", "secondes de validité d'un lien de page", ge=1)
    ] = 900
    sort_bound: Annotated[
        int,
        doc(
            "matches of one manager the broker sorts itself at most",
            "résultats d'un gestionnaire triés par le courtier, au plus",
            ge=1,
        ),
    ] = 1000
    max_answer_bytes: Annotated[
        Bytes, doc("largest answer taken from a manager, bytes", "plus grande réponse acceptée, octets")
    ] = 32 * 1024 * 1024
    max_request_bytes: Annotated[
        Bytes, doc("largest request taken from a client, bytes", "plus grande requête acceptée, octets")
    ] = 2 * 1024 * 1024
    log_level: Annotated[LogLevel, doc("debug, info, warning or error", "debug, info, warning ou error")] = (
        LogLevel.INFO
    )

    @field_validator("auth", "log_level", "log_format", "hedged_reads", "adaptive_deadlines", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("public_url")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("http://", "https://")) or "?" in value or "#" in value:
            raise PydanticCustomError("public_url", "an absolute http(s) address without query")
        return value.rstrip("/")

    @field_validator("manager_networks")
    @classmethod
    def _manager_networks(cls, value: str) -> str:
        try:
            networks(value)
        except ValueError:
            raise PydanticCustomError("networks", "networks as 10.1.0.0/16, with commas") from None
        return value

    @field_validator("home")
    @classmethod
    def _slug(cls, value: str | None) -> str | None:
        if value is not None and SLUG.fullmatch(value) is None:
            raise PydanticCustomError("slug", "a manager's id")
        return value

    @field_validator("locator_secret", "locator_previous_secret", "federation_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_SECRET:
            raise PydanticCustomError("secret_too_short", "at least 16 characters")
        return value

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if self.default_count > self.max_count:
            raise PydanticCustomError("counts", "CDS_DEFAULT_COUNT is over CDS_MAX_COUNT")
        if self.locator_secret is not None and self.locator_secret_file is not None:
            raise PydanticCustomError(
                "two_secrets", "CDS_LOCATOR_SECRET and CDS_LOCATOR_SECRET_FILE exclude each other"
            )
        if self.federation_secret is not None and self.federation_secret_file is not None:
            raise PydanticCustomError(
                "federation_secrets",
                "CDS_FEDERATION_SECRET and CDS_FEDERATION_SECRET_FILE exclude each other",
            )
        if self.redis_url is not None and self.redis_url_file is not None:
            raise PydanticCustomError("two_stores", "CDS_REDIS_URL and CDS_REDIS_URL_FILE exclude each other")
        if self.locator_freshness <= self.locator_poll:
            raise PydanticCustomError("freshness", "CDS_LOCATOR_FRESHNESS is not over CDS_LOCATOR_POLL")
        if self.auth is AuthMode.NONE and not is_loopback(self.host):
            raise PydanticCustomError("exposed", "CDS_AUTH=none needs a loopback CDS_HOST")
        if self.audit == NOWHERE and self.auth is not AuthMode.NONE:
            raise PydanticCustomError("audit_nowhere", "CDS_AUDIT=none is for CDS_AUTH=none alone")
        return self

    @property
    def base_url(self) -> str:
        """The base address in links, without a trailing slash."""
        if self.public_url is not None:
            return self.public_url
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "http" if self.tls_cert is None else "https"
        return f"{scheme}://{host}:{self.port}/fhir"

    @property
    def embedded_store(self) -> bool:
        return self.redis_url is None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings  # no implicit files: what is read is what was named
        config = init_settings().get("config") or env_settings().get("config")
        sources = (init_settings, env_settings)
        return sources if config is None else (*sources, TomlConfigSettingsSource(settings_cls, Path(config)))

    @classmethod
    def load(cls, **options: object) -> Settings:
        """Read everything. `options` are command-line options; those that are None count as not given.

        Raises `ConfigurationError`: `config.invalid` names every wrong setting, `config.file` an unreadable
        file.
        """
        given = {name: value for name, value in options.items() if value is not None}
        try:
            settings = cls(**given)  # type: ignore[arg-type]  # pydantic converts and checks
        except ValidationError as error:
            raise translated(error, PREFIX) from None  # the original would show values, and some are secrets
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(
                "config.file", setting=PREFIX + "CONFIG", reason=_reason(error)
            ) from error
        if settings.config is not None and not settings.config.is_file():
            raise _unreadable("no such file")
        return settings._with_its_store()

    def _with_its_store(self) -> Settings:
        """The same with the address of the store that is in a file of its own."""
        if self.redis_url_file is None:
            return self
        setting = PREFIX + "REDIS_URL_FILE"
        try:
            url = self.redis_url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise ConfigurationError(
                "config.file", setting=setting, reason=reason or type(error).__name__
            ) from error
        if not url:
            raise ConfigurationError("config.file", setting=setting, reason="it is empty")
        return self.model_copy(update={"redis_url": SecretStr(url), "redis_url_file": None})

    @classmethod
    def describe(cls) -> list[SettingRow]:
        """Every setting with its default and what it is for, for `--help` and the README."""
        own = cls.__annotations__  # those of the base class come last
        rows = []
        for name, field in sorted(cls.model_fields.items(), key=lambda one: one[0] not in own):
            extra = field.json_schema_extra
            fr = str(extra.get("fr", "")) if isinstance(extra, dict) else ""
            default = "" if field.default is None else str(field.default)
            rows.append(SettingRow(PREFIX + name.upper(), default, field.description or "", fr))
        return rows


MIN_SECRET = 16


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _unreadable(reason: str) -> ConfigurationError:
    return ConfigurationError("config.file", setting=PREFIX + "CONFIG", reason=reason)


def _reason(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
