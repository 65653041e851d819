"""botocore's exceptions as our error classes, and its bodies read within a deadline."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from botocore import exceptions as boto

from drbackup.errors import StoreRefused, StoreUnavailable, say
from drbackup.stores.retry import TryAgain
from drbackup.stores.s3.status import blame_clock, error_for

_PIECE = 32 * 1024  # small enough that the deadline is looked at often on a slow line
_HASHED = 128 * 1024  # larger where only the pieces' hash is wanted: the calls cost more than the hashing otherwise


@contextlib.contextmanager
def faults_as_ours(name: str) -> Iterator[None]:
    """A block in which whatever botocore raises becomes our error class, or :class:`TryAgain` when it may pass.

    ``name`` is the object's, for the message.
    """
    try:
        yield
    except boto.ClientError as refused:
        status = int(refused.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        said = refused.response.get("Error", {})
        error = error_for(status, str(said.get("Code") or ""), str(said.get("Message") or ""), name)
        date = refused.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        raise blame_clock(error, date) from refused
    except boto.SSLError as fault:
        raise tls_error(fault, name) from fault
    except (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError) as fault:
        raise TryAgain(StoreUnavailable(say("{name}: {why}", name=name, why=fault), where=name)) from fault
    except (boto.NoCredentialsError, boto.PartialCredentialsError) as fault:
        raise StoreRefused(say("{name}: {why}", name=name, why=fault), where=name) from fault
    except boto.BotoCoreError as fault:
        raise StoreRefused(
            say("{name}: {why}", name=name, why=fault), where=name, hint="check the store's entry in inventory.yaml"
        ) from fault


def tls_error(fault: Exception, name: str) -> Exception:
    """The error to raise for a TLS fault: StoreRefused for a bad certificate, else :class:`TryAgain`."""
    if "CERTIFICATE_VERIFY_FAILED" in str(fault) or "certificate" in str(fault).lower():
        return StoreRefused(
            say("{name}: the store's certificate does not check: {why}", name=name, why=fault),
            where=name,
            hint="name the authority's PEM file as ca_file in inventory.yaml",
        )
    return TryAgain(StoreUnavailable(say("{name}: {why}", name=name, why=fault), where=name))


def read_body(answer: Mapping[str, Any], name: str, deadline: float) -> bytes:
    """The whole body. Raises :class:`TryAgain` when ``deadline`` (seconds, monotonic) passes before its end."""
    return b"".join(_pieces(answer, name, deadline, _PIECE))


def hash_body(answer: Mapping[str, Any], name: str, deadline: float) -> tuple[int, bytes]:
    """(size in bytes, SHA-256) of the body, which is never whole in memory. Raises as :func:`read_body`."""
    size, hasher = 0, hashlib.sha256()
    for piece in _pieces(answer, name, deadline, _HASHED):
        hasher.update(piece)
        size += len(piece)
    return size, hasher.digest()


def _pieces(answer: Mapping[str, Any], name: str, deadline: float, most: int) -> Iterator[bytes]:
    body = answer["Body"]
    try:
        while piece := body.read(most):
            yield piece
            if time.monotonic() > deadline:
                raise TryAgain(StoreUnavailable(say("{name}: the store sends too slowly", name=name), where=name))
    finally:
        body.close()
