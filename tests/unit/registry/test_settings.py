"""Settings: where they come from, what is refused, and the locator's secret."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from broker.core.messages import MESSAGES, text
from broker.errors import ConfigurationError
from broker.locator_secret import locator_secret
from broker.settings import AuthMode, Settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("CDS_"):
            monkeypatch.delenv(name)


def test_the_contracts_defaults() -> None:
    settings = Settings.load()
    assert settings.auth is AuthMode.OIDC
    assert settings.search_deadline == 5.0
    assert settings.data_dir == Path(".cds-broker")
    assert settings.embedded_store
    assert settings.base_url == "http://127.0.0.1:8080/fhir"


def test_networks_of_managers_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_MANAGER_NETWORKS", "10.1.0.0/16, fd00::/8")
    assert Settings.load().manager_networks == "10.1.0.0/16, fd00::/8"
    monkeypatch.setenv("CDS_MANAGER_NETWORKS", "10.1.0.1/16")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load()
    assert "CDS_MANAGER_NETWORKS" in str(caught.value.params["problems_fr"])


def test_an_option_beats_the_environment_beats_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('port = 1\nsearch_deadline = 2.0\nauth = "none"\n')
    monkeypatch.setenv("CDS_CONFIG", str(path))
    monkeypatch.setenv("CDS_SEARCH_DEADLINE", "3")
    monkeypatch.setenv("CDS_PORT", "2")
    settings = Settings.load(port=3, host=None)
    assert (settings.port, settings.search_deadline, settings.auth) == (3, 3.0, AuthMode.NONE)
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "broker.example"])
def test_no_authentication_only_on_loopback(host: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(auth="none", host=host)
    assert "CDS_AUTH=none" in text(caught.value.key, "fr", **caught.value.params)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_no_authentication_on_loopback(host: str) -> None:
    assert Settings.load(auth="NONE", host=host).auth is AuthMode.NONE


def test_every_wrong_setting_is_named_and_no_value_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_SEARCH_DEADLINE", "soon")
    monkeypatch.setenv("CDS_LOCATOR_SECRET", "tooshort")
    monkeypatch.setenv("CDS_PUBLIC_URL", "cds.example/fhir?x")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(max_count="-1")
    for language in ("fr", "en"):
        told = text(caught.value.key, language, **caught.value.params)
        for name in ("CDS_SEARCH_DEADLINE", "CDS_LOCATOR_SECRET", "CDS_PUBLIC_URL", "CDS_MAX_COUNT"):
            assert name in told
        assert "soon" not in told
        assert "tooshort" not in told
    assert caught.value.key in MESSAGES


@pytest.mark.parametrize(
    "options",
    [
        {"default_count": 300},
        {"port": 70000},
        {"search_deadline": 0},
        {"search_deadline": "nan"},
        {"auth": "password"},
        {"locator_secret": "x" * 16, "locator_secret_file": "x"},
        {"colour": "red"},
    ],
)
def test_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Settings.load(**options)


@pytest.mark.parametrize("content", ["port = ", "colour = 'red'", "[port]\nx = 1"])
def test_a_wrong_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError):
        Settings.load(config=path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(config=tmp_path / "none.toml")
    assert caught.value.key == "config.file"


def test_the_stores_address_may_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "redis-url"
    file.write_text("redis://:a-password@127.0.0.1:6379/0\n")
    monkeypatch.setenv("CDS_REDIS_URL_FILE", str(file))
    settings = Settings.load()
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:a-password@127.0.0.1:6379/0"
    assert not settings.embedded_store
    assert "a-password" not in repr(settings)
    monkeypatch.setenv("CDS_REDIS_URL", "redis://127.0.0.1:6379/1")
    with pytest.raises(ConfigurationError) as both:
        Settings.load()
    assert "CDS_REDIS_URL_FILE" in str(both.value.params["problems_fr"])
    monkeypatch.delenv("CDS_REDIS_URL")
    for content in ("", None):
        file.unlink() if content is None else file.write_text(content)
        with pytest.raises(ConfigurationError) as caught:
            Settings.load()
        assert caught.value.key == "config.file"
        assert caught.value.params["setting"] == "CDS_REDIS_URL_FILE"


def test_secrets_are_not_shown() -> None:
    settings = Settings.load(redis_url="redis://:hunter2@r.example", locator_secret="s" * 20)
    assert "hunter2" not in repr(settings)
    assert "ssss" not in repr(settings)


def test_the_table_has_every_setting_in_both_languages() -> None:
    rows = Settings.describe()
    assert {row.name for row in rows} == {"CDS_" + name.upper() for name in Settings.model_fields}
    assert all(row.en and row.fr for row in rows)


def test_the_public_address() -> None:
    assert Settings.load(public_url="https://cds.example/fhir/").base_url == "https://cds.example/fhir"
    assert Settings.load(host="::1", port=1).base_url == "http://[::1]:1/fhir"


def test_the_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    settings = Settings.load(data_dir=tmp_path / "data")
    with ThreadPoolExecutor(4) as pool:
        secrets = set(pool.map(lambda _: locator_secret(settings), range(8)))
    assert len(secrets) == 1
    assert len(secrets.pop()) >= 32
    (path,) = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_given_secret_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("0123456789abcdef\n")
    assert locator_secret(Settings.load(locator_secret_file=path)) == b"0123456789abcdef"
    assert locator_secret(Settings.load(locator_secret="x" * 16)) == b"x" * 16


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"redis_url": "redis://r.example"}, "config.secret-missing"),
        ({"locator_secret_file": "/does/not/exist"}, "config.file"),
        ({"locator_secret_file": os.devnull}, "config.secret-short"),
    ],
)
def test_no_usable_secret_is_said(options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        locator_secret(Settings.load(**options))
    assert caught.value.key == key
