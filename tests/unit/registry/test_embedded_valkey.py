"""The embedded store: shared, found again after a crash, and stopped with its last user."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import redis

from adapters.embedded_valkey import MAX_SOCKET_PATH, EmbeddedValkey
from broker.errors import ConfigurationError


def put(url: str, key: str, value: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.set(key, value)


def get(url: str, key: str) -> bytes | None:
    with redis.Redis.from_url(url) as client:
        value: Any = client.get(key)  # redis-py types it as sync or async
    return None if value is None else bytes(value)


def test_it_keeps_data_over_a_restart(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    put(server.start(), "k", "v")
    server.stop()
    assert server.server_pid() is None
    url = server.start()
    assert get(url, "k") == b"v"
    server.stop()


def test_it_listens_on_no_network_and_keeps_an_append_only_file(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    url = server.start()
    with redis.Redis.from_url(url) as client:
        found = client.config_get("port", "appendonly", "appendfsync", "maxmemory-policy")
    assert found == {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
    }
    assert stat.S_IMODE((tmp_path / "valkey").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "valkey" / "valkey.sock").stat().st_mode) == 0o700
    server.stop()


def test_users_of_one_directory_share_a_server_and_the_last_stops_it(tmp_path: Path) -> None:
    first, second = EmbeddedValkey(tmp_path), EmbeddedValkey(tmp_path)
    url = first.start()
    assert second.start() == url
    pid = first.server_pid()
    first.stop()
    assert second.server_pid() == pid
    second.stop()
    assert second.server_pid() is None
    second.stop()  # nothing more to do


def test_many_start_at_once(tmp_path: Path) -> None:
    servers = [EmbeddedValkey(tmp_path) for _ in range(4)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({server.server_pid() for server in servers}) == 1
    for server in servers:
        server.stop()
    assert servers[0].server_pid() is None


def test_a_killed_server_is_replaced_and_data_is_there(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    put(server.start(), "k", "v")
    pid = server.server_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    server.stop()
    assert (tmp_path / "valkey" / "valkey.sock").exists()  # what a crash leaves behind
    url = server.start()
    assert get(url, "k") == b"v"
    assert server.server_pid() != pid
    server.stop()


def test_the_server_of_a_killed_broker_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from adapters.embedded_valkey import EmbeddedValkey;"
        "server = EmbeddedValkey(Path(sys.argv[1])); server.start(); print(server.server_pid(), flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False, timeout=30
    )
    assert done.returncode == -signal.SIGKILL
    server = EmbeddedValkey(tmp_path)
    server.start()
    assert server.server_pid() == int(done.stdout)
    server.stop()
    assert server.server_pid() is None


def test_a_long_directory_gets_a_short_socket(tmp_path: Path) -> None:
    long = tmp_path / ("x" * MAX_SOCKET_PATH)
    server = EmbeddedValkey(long)
    url = server.start()
    path = Path(url.removeprefix("unix://"))
    assert len(os.fsencode(path)) <= MAX_SOCKET_PATH
    put(url, "k", "v")
    server.stop()
    again = EmbeddedValkey(long)
    assert again.start() == url
    again.stop()
    path.parent.chmod(0o755)  # as somebody else's might be, who got there first
    with pytest.raises(ConfigurationError):
        again.start()
    path.parent.rmdir()


def test_a_directory_with_blanks_and_percents(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "a b%20c")
    url = server.start()
    put(url, "k", "v")
    assert get(url, "k") == b"v"
    server.stop()


def test_what_keeps_it_from_starting_is_said(tmp_path: Path) -> None:
    (tmp_path / "valkey").write_text("a file in the way")
    with pytest.raises(ConfigurationError) as caught:
        EmbeddedValkey(tmp_path).start()
    assert caught.value.key == "config.embedded-store"


def test_a_damaged_store_is_said_and_its_log_named(tmp_path: Path) -> None:
    directory = tmp_path / "valkey" / "appendonlydir"
    directory.mkdir(parents=True)
    (directory / "appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(ConfigurationError) as caught:
        EmbeddedValkey(tmp_path).start()
    assert str(caught.value.params["log"]).endswith("valkey.log")
