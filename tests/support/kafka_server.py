"""A real Apache Kafka for tests: KRaft mode, one process, loopback only, with data and ports of its own.

    server = kafka_or_skip(directory)
    ... KafkaOptions(bootstrap=server.bootstrap)
    server.kill(); server.restart(); server.pause(); server.resume()
    server.stop()

Maven brings the jars (`kafka/pom.xml`, 44 MB) into `.kafka/` of the repository, once. `CDS_TEST_KAFKA=host:port` takes a
Kafka that runs already instead, which is not killed.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.certificates import write_certificates
from tests.support.ports import lasting_port

_POM = Path(__file__).parent / "kafka" / "pom.xml"
_CACHE = Path(__file__).parents[2] / ".kafka"
_INSTALL_SECONDS = 300.0
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_STEP = 0.05
_OLDEST_JAVA = 17

# Small and quick to start; the class archive comes with the JDK.
_JVM = ("-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")

USER, PASSWORD = "agent", "a-password-of-tests"
_SCRAM = f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"

_SETTINGS = """\
process.roles=broker,controller
node.id=1
listeners=BROKER://127.0.0.1:{port},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=BROKER://127.0.0.1:{port},SECURE://127.0.0.1:{secure}
listener.security.protocol.map=BROKER:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
  user_{user}="{password}";
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={directory}/server.pem
listener.name.secure.ssl.client.auth=none
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={directory}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=250
group.min.session.timeout.ms=500
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.backoff.ms=500
num.network.threads=2
num.io.threads=2
"""


class KafkaUnavailable(RuntimeError):  # noqa: N818 - a state of the machine, not an error of the tests
    """Java, Maven or the jars are not to be had here; the message says which and why."""


def kafka_or_skip(directory: Path) -> KafkaServer:
    """A running server, or a skip that says why; under `CI=true`, where nothing is skipped, a failure."""
    if existing := os.environ.get("CDS_TEST_KAFKA"):
        return KafkaServer(directory, existing=existing)
    try:
        server = KafkaServer(directory)
    except KafkaUnavailable as error:
        reason = f"Apache Kafka (Java): {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server.start()
    return server


@dataclass
class KafkaServer:
    """Everything here blocks: in a coroutine, by `asyncio.to_thread`. Raises `KafkaUnavailable` when it is made."""

    directory: Path
    existing: str | None = None
    started_in: float = 0.0  # seconds
    _port: int = 0
    _secure: int = 0
    _classpath: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.existing is None:
            _check_java()
            self._classpath = f"{_jars()}/*"

    @property
    def bootstrap(self) -> str:
        return self.existing or f"127.0.0.1:{self._port}"

    @property
    def secure(self) -> str:
        """`host:port` that takes TLS and SASL only."""
        return f"127.0.0.1:{self._secure}"

    @property
    def cafile(self) -> Path:
        """Who vouches for the server."""
        return self.directory / "ca.pem"

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Format its storage and run it. Not starting is a defect, no reason to skip."""
        begun = time.monotonic()
        self._port, self._secure, controller = lasting_port(), lasting_port(), lasting_port()
        self.directory.mkdir(parents=True, exist_ok=True)
        write_certificates(self.directory)
        settings = _SETTINGS.format(
            port=self._port,
            secure=self._secure,
            controller=controller,
            directory=self.directory,
            user=USER,
            password=PASSWORD,
        )
        self._config.write_text(settings, encoding="ascii")
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        formatting = subprocess.run(
            self._java(
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={cluster}",  # with "=", since it may begin with "-"
                f"--config={self._config}",
                f"--add-scram={_SCRAM}",
            ),
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_SECONDS,
        )
        if formatting.returncode != 0:
            raise RuntimeError(f"Kafka's storage was not formatted: {formatting.stderr[-400:]}")
        self.restart()
        self.started_in = time.monotonic() - begun

    def restart(self) -> None:
        """Run it again on the same data and ports, and wait until it answers."""
        self._not_existing()
        with (self.directory / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._config)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it
            )
        for _ in range(int(_START_SECONDS / _STEP)):
            if _answers(self._port):
                return
            if self._process.poll() is not None:
                break
            time.sleep(_STEP)
        self.stop()
        raise RuntimeError(f"Kafka did not start: {self._last_words()}")

    def kill(self) -> None:
        """SIGKILL, then wait until it is gone."""
        self._not_existing()
        os.kill(self.pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        self._not_existing()
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def resident_mb(self) -> int:
        """Memory of the process, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) // 1024

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        # Nobody needs its data any more: an orderly end takes two seconds, and leads nowhere.
        process.kill()
        process.wait(_STOP_SECONDS)

    @property
    def _config(self) -> Path:
        return self.directory / "server.properties"

    def _java(self, *command: str) -> list[str]:
        logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return [_tool("java"), *_JVM, logging, "-cp", self._classpath, *command]

    def _not_existing(self) -> None:
        if self.existing is not None:
            pytest.skip("CDS_TEST_KAFKA is somebody's: it is not killed")

    def _last_words(self) -> str:
        return (self.directory / "kafka.log").read_text(errors="replace")[-600:].strip()


def _check_java() -> None:
    answer = subprocess.run(
        [_tool("java"), "-version"], capture_output=True, text=True, check=False, timeout=_START_SECONDS
    )
    version = re.search(r'version "(\d+)', answer.stderr)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        raise KafkaUnavailable(f"Java {_OLDEST_JAVA} or newer is needed")


def _jars() -> Path:
    """The directory of the jars, filled once for all processes: its name tells the pom.xml that it was filled from."""
    wanted = hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    jars = _CACHE / f"jars-{wanted}"
    if jars.exists():
        return jars
    maven = _tool("mvn")
    _CACHE.mkdir(exist_ok=True)
    with _only_one(_CACHE / "installing"):
        if jars.exists():
            return jars
        draft = _CACHE / f"draft-{wanted}"
        shutil.rmtree(draft, ignore_errors=True)
        command = [
            maven,
            "-B",
            "-q",
            "-f",
            str(_POM),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={draft}",
        ]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise KafkaUnavailable(f"Maven took over {_INSTALL_SECONDS:.0f} s") from error
        if run.returncode != 0:
            raise KafkaUnavailable(f"Maven failed: {run.stdout[-400:].strip()}")
        draft.rename(jars)
    return jars


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        for _ in range(int(_INSTALL_SECONDS / 0.2)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2)
        else:
            raise KafkaUnavailable("another process is still fetching the jars")
        yield


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise KafkaUnavailable(f"{name} is not installed")
    return found


def _answers(port: int) -> bool:
    """Whether it answers `ApiVersions` (key 18, version 0, correlation 1, no client id)."""
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(8)) == 8
    except OSError:
        return False
