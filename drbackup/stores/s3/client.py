"""Where an S3 bucket is, the credential that reaches it, and a client for it.

Credentials come from a file or the environment, never from argv or a policy file.
"""

from __future__ import annotations

import configparser
import functools
import os
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import boto3.session
from botocore.config import Config

from drbackup.errors import StoreRefused, say
from drbackup.stores.base import require_name
from drbackup.stores.retry import DEFAULT_RETRY, RetryLimits
from drbackup.stores.s3.status import require_authority

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_mutex = threading.Lock()
_HINT = "name credentials_file in inventory.yaml, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An S3 key pair. The secret parts never show in ``repr``."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class S3Config:
    """One place in one bucket, and how to reach it."""

    bucket: str
    credentials: Credentials
    endpoint: str = ""  # URL; empty: AWS itself
    region: str = "us-east-1"
    prefix: str = ""  # put before every object name, with a slash between
    path_style: bool = True  # endpoint/bucket instead of bucket.endpoint
    ca_file: str = ""  # PEM file of the authority that signed the endpoint's certificate; empty: the system's own
    lock_days: int = 0  # every new object is locked for so many days; 0: no lock is asked for
    lock_mode: str = "COMPLIANCE"  # or GOVERNANCE
    sign_seconds: int = 900  # how long a signed URL is valid
    connections: int = 16  # at the same time, at most
    retry: RetryLimits = DEFAULT_RETRY

    def __post_init__(self) -> None:
        if self.prefix.strip("/"):
            require_name(self.prefix.strip("/"))

    @property
    def encrypted(self) -> bool:
        """Whether the connection is TLS."""
        return not self.endpoint.startswith("http://")


def load_credentials(path: str | os.PathLike[str] = "", environ: Mapping[str, str] | None = None) -> Credentials:
    """The key pair in the file ``path``, or in the environment when ``path`` is empty.

    The file has the ini form of ``~/.aws/credentials``, with a section ``default``. Raises StoreRefused without a key
    pair, or when everybody on this host may read the file.
    """
    if path:
        return _from_file(os.fspath(path))
    found = os.environ if environ is None else environ
    return _from_fields(found, "the environment")


def make_client(config: S3Config) -> S3Client:
    """A thread-safe client. Raises StoreRefused when ``ca_file`` can't be read.

    botocore's own retries are off: :class:`~drbackup.stores.retry.RetryLimits` bounds them in seconds instead.

    Checksums are sent only where we ask for them ("when_required"). botocore's default adds a CRC32 trailer, which
    older servers refuse (411) and which costs a second pass over the bytes. ``S3Store.put`` sends SHA-256 itself.

    Over TLS alone the body is left out of the signature: TLS keeps it whole on the way, and the signed SHA-256 header
    names it. Over plain HTTP, a server that ignores that header would otherwise accept altered bytes.
    """
    settings = Config(
        signature_version="s3v4",
        connect_timeout=config.retry.connect,
        read_timeout=config.retry.stall,
        max_pool_connections=config.connections,
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": "path" if config.path_style else "auto",
            "payload_signing_enabled": not config.encrypted,
        },
    )
    require_authority(config.ca_file)
    verify: str | bool = config.ca_file or True
    with _mutex:  # making clients is not thread-safe, using them is
        return _session().client(
            "s3",
            region_name=config.region,
            endpoint_url=config.endpoint or None,
            verify=verify,
            config=settings,
            aws_access_key_id=config.credentials.access_key,
            aws_secret_access_key=config.credentials.secret_key,
            aws_session_token=config.credentials.session_token or None,
        )


@functools.cache
def _session() -> boto3.session.Session:
    """One session for all stores: S3's service model (0.3 s) is read only once. It holds no credential."""
    return boto3.session.Session()


def _from_file(path: str) -> Credentials:
    try:
        mode = Path(path).stat().st_mode
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as fault:
        raise StoreRefused(
            say("can't read the credentials file: {why}", why=fault.strerror), where=path, hint=_HINT
        ) from fault
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise StoreRefused(
            "everybody on this host may read this credential", where=path, hint=say("chmod 600 {path}", path=path)
        )
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
        fields = dict(parser["default"])
    except (configparser.Error, KeyError):
        # The parser's own message would quote the line, and the line may be the secret.
        raise StoreRefused("the credentials file has no readable [default] section", where=path, hint=_HINT) from None
    return _from_fields(fields, path)


def _from_fields(found: Mapping[str, str], where: str) -> Credentials:
    access, secret, token = (
        (found.get(field) or found.get(field.upper()) or "").strip()
        for field in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    )
    if not access or not secret:
        raise StoreRefused("no S3 credential: a key id or a secret is missing", where=where, hint=_HINT)
    return Credentials(access, secret, token)
