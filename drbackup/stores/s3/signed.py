"""The agent's side of a signed upload or read: plain HTTPS with urllib3, no credential, no S3 library.

A signed URL is a secret while it is valid, so its query never reaches a log line or an error message. Redirects are
not followed: a signature is valid for one address only.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import IO, cast
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from drbackup.errors import ObjectExists, StoreRefused, StoreUnavailable, say
from drbackup.stores.base import past_the_end
from drbackup.stores.retry import DEFAULT_RETRY, RetryLimits, TryAgain
from drbackup.stores.s3.status import blame_clock, error_for, read_error, require_authority

_PIECE = 256 * 1024  # bytes of one read or one sent block
_CHECKSUM = "x-amz-checksum-sha256"
_QUERY = re.compile(r"\?[^\s\"')]*")


class _Blocks:
    """Bytes as a file, so that each block sent has a timeout of its own. One big send would have a single one.

    A pack is tens of megabytes, so the blocks are views of it and no copies.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._rest = memoryview(data)

    def read(self, size: int) -> memoryview:
        """The next ``size`` bytes: fewer at the end, then none."""
        block, self._rest = self._rest[:size], self._rest[size:]
        return block


class _HideQueries(logging.Filter):
    """A log filter that hides signatures: urllib3 logs whole URLs at DEBUG, and the query is the signature."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = _QUERY.sub("?***", record.getMessage()), None
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_HideQueries())


def put_signed(
    url: str,
    headers: Mapping[str, str],
    data: bytes | memoryview,
    *,
    retry: RetryLimits = DEFAULT_RETRY,
    ca_file: str = "",
) -> None:
    """A durable upload of ``data`` with exactly these signed headers: this returns when the store has confirmed it.

    412 means that the name is taken. Names are hashes of the bytes, so what lies there is what we send, mostly from our
    own earlier attempt. That is a success, unless the answer reports another digest. The controller, which may read,
    compares size and checksum before it counts the pack as stored.

    Raises ObjectExists, StoreFull, StoreUnavailable. Raises StoreRefused also for an expired URL: ask for a new one.
    """
    expected = b64encode(hashlib.sha256(data).digest()).decode("ascii")
    signed = {name.lower(): value for name, value in headers.items()}
    if signed.get(_CHECKSUM, expected) != expected or signed.get("content-length", str(len(data))) != str(len(data)):
        raise StoreRefused(say("{url}: signed for other bytes than these", url=_shown(url)), where=_shown(url))

    def attempt(deadline: float) -> None:
        answer = _ask("PUT", url, signed, retry, ca_file, _Blocks(data))
        said = _read(answer, url, deadline)
        reported = answer.headers.get(_CHECKSUM, expected)
        if reported != expected:
            raise ObjectExists(say("{url}: the store reports another digest", url=_shown(url)), where=_shown(url))
        if answer.status != 412 and not 200 <= answer.status < 300:
            raise _refusal(answer, said, url)

    retry.run(attempt, len(data))


def get_signed(
    url: str,
    offset: int = 0,
    length: int | None = None,
    *,
    retry: RetryLimits = DEFAULT_RETRY,
    ca_file: str = "",
    short_ok: bool = False,
) -> bytes:
    """The bytes ``[offset, offset+length)`` of the object behind the URL; to the end when ``length`` is None.

    For a range that reaches past the end: the bytes that are there with ``short_ok``, else ObjectCorrupt is raised.
    Raises ObjectMissing, StoreRefused, StoreUnavailable.
    """
    if length == 0:
        return b""
    last = "" if length is None else str(offset + length - 1)
    asked = {"range": f"bytes={offset}-{last}"} if offset or length is not None else {}

    def attempt(deadline: float) -> bytes:
        answer = _ask("GET", url, asked, retry, ca_file)
        data = _read(answer, url, deadline)
        if answer.status == 416 and short_ok:
            return b""
        if answer.status != (206 if asked else 200):
            raise _refusal(answer, data, url)
        return data

    data = retry.run(attempt, length or 0)
    if length is not None and (len(data) > length or (len(data) < length and not short_ok)):
        raise past_the_end(_shown(url), offset + len(data), offset, length)
    return data


def get_signed_into(
    url: str, offset: int, into: memoryview, *, retry: RetryLimits = DEFAULT_RETRY, ca_file: str = ""
) -> int:
    """The number of bytes put into ``into``, from the object's ``offset`` on; fewer than its size at the object's end.

    There is no second copy of them in memory. Raises as :func:`get_signed`.
    """
    asked = {"range": f"bytes={offset}-{offset + len(into) - 1}"}

    def attempt(deadline: float) -> int:
        answer = _ask("GET", url, asked, retry, ca_file)
        if answer.status == 206:
            return _read_into(answer, into, url, deadline)
        data = _read(answer, url, deadline)
        if answer.status == 416:
            return 0
        raise _refusal(answer, data, url)

    return retry.run(attempt, len(into))


def send_once(
    url: str, headers: Mapping[str, str], data: bytes, *, retry: RetryLimits = DEFAULT_RETRY, ca_file: str = ""
) -> tuple[int, str]:
    """(HTTP status, S3 error code) of one PUT, whether right or wrong. For :mod:`drbackup.stores.s3.probe`.

    Raises StoreRefused, StoreUnavailable.
    """

    def attempt(deadline: float) -> tuple[int, str]:
        answer = _ask("PUT", url, headers, retry, ca_file, _Blocks(data))
        return answer.status, read_error(_read(answer, url, deadline))[0]

    return retry.run(attempt, len(data))


def _refusal(answer: urllib3.BaseHTTPResponse, body: bytes, url: str) -> Exception:
    if 200 <= answer.status < 300:
        return StoreRefused(
            say("{url}: the store does not serve ranges ({status})", url=_shown(url), status=answer.status),
            where=_shown(url),
        )
    return blame_clock(error_for(answer.status, *read_error(body), _shown(url)), answer.headers.get("Date"))


def _ask(
    method: str, url: str, headers: Mapping[str, str], retry: RetryLimits, ca_file: str, body: _Blocks | None = None
) -> urllib3.BaseHTTPResponse:
    timeout = urllib3.Timeout(connect=retry.connect, read=retry.stall)
    try:
        return _pool(ca_file).request(
            method,
            url,
            body=cast("IO[bytes] | None", body),  # only ``read`` of it is called
            headers=dict(headers),
            timeout=timeout,
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
    except SSLError as fault:
        raise _tls_error(fault, url) from None
    except HTTPError as fault:
        raise TryAgain(
            StoreUnavailable(say("{url}: {why}", url=_shown(url), why=_masked(fault)), where=_shown(url))
        ) from None


def _read(answer: urllib3.BaseHTTPResponse, url: str, deadline: float) -> bytes:
    return b"".join(_pieces(answer, url, deadline))


def _read_into(answer: urllib3.BaseHTTPResponse, into: memoryview, url: str, deadline: float) -> int:
    done = 0
    for piece in _pieces(answer, url, deadline):
        if done + len(piece) > len(into):
            answer.close()
            raise past_the_end(_shown(url), done + len(piece), 0, len(into))
        into[done : done + len(piece)] = piece
        done += len(piece)
    return done


def _pieces(answer: urllib3.BaseHTTPResponse, url: str, deadline: float) -> Iterator[bytes]:
    """The answer's body as it comes."""
    try:
        while piece := answer.read1(_PIECE):  # whatever has come, so that a very slow store is seen at the deadline
            yield piece
            if time.monotonic() > deadline:
                answer.close()
                raise TryAgain(
                    StoreUnavailable(say("{url}: the store sends too slowly", url=_shown(url)), where=_shown(url))
                )
    except HTTPError as fault:  # cut short, or silent for longer than the stall timeout
        raise TryAgain(
            StoreUnavailable(say("{url}: {why}", url=_shown(url), why=_masked(fault)), where=_shown(url))
        ) from None
    finally:
        answer.release_conn()


def _tls_error(fault: Exception, url: str) -> Exception:
    if "certificate" in str(fault).lower():
        return StoreRefused(
            say("{url}: the store's certificate does not check: {why}", url=_shown(url), why=_masked(fault)),
            where=_shown(url),
            hint="the controller reads the authority's file (ca_file of the store in inventory.yaml); an agent trusts "
            "what its server trusts: put the authority there, on Debian with update-ca-certificates",
        )
    return TryAgain(StoreUnavailable(say("{url}: {why}", url=_shown(url), why=_masked(fault)), where=_shown(url)))


@functools.lru_cache(maxsize=4)
def _pool(ca_file: str) -> urllib3.PoolManager:
    """One pool per certificate authority for the whole process. Connections are kept, so TLS handshakes are rare."""
    require_authority(ca_file)
    return urllib3.PoolManager(
        num_pools=8, maxsize=8, block=False, cert_reqs="CERT_REQUIRED", ca_certs=ca_file or None, blocksize=_PIECE
    )


def _shown(url: str) -> str:
    """The URL without its signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _masked(fault: Exception) -> str:
    """The fault's text without any URL query: every part of a signed one may be a credential."""
    return _QUERY.sub("?***", str(fault))
