"""A store that answers 500, 503, slowly, in part or not at all, seen through a real HTTP proxy."""

from __future__ import annotations

import email.utils
import hashlib
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from drbackup.errors import ObjectCorrupt, ObjectExists, StoreFull, StoreRefused, StoreUnavailable
from drbackup.stores.retry import RetryLimits
from drbackup.stores.s3.client import Credentials
from drbackup.stores.s3.signed import get_signed, put_signed
from drbackup.stores.s3.store import S3Store
from tests.support.poll import wait_until
from tests.support.services.faulty_proxy import Fault, FaultyProxy
from tests.support.services.seaweedfs import QUICK, S3Server

pytestmark = pytest.mark.s3
BODY = bytes(range(256)) * 1024
NAME = "v1/d/db1/p/" + hashlib.sha256(BODY).hexdigest()
HASTY = RetryLimits(total=1.0, connect=0.5, stall=0.4, slowest=10**9, first_wait=0.02, longest_wait=0.1)
MOST_TRIES = 24  # with at least half of each wait between two
MOST_SILENT_TRIES = 4  # each ends by the silence's limit only; without one this would never end
NEVER = 10.0**6  # seconds; the proxy's end wakes it


@pytest.fixture
def proxy(s3_server: S3Server, make_proxy: Callable[[str], FaultyProxy]) -> FaultyProxy:
    return make_proxy(s3_server.endpoint)


@pytest.fixture
def store(s3_server: S3Server, proxy: FaultyProxy, request: pytest.FixtureRequest) -> S3Store:
    """A store reached through the proxy, each test under its own prefix."""
    prefix = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    bucket = s3_server.shared_bucket()
    return S3Store("offsite", s3_server.config(bucket, prefix=prefix, endpoint=proxy.endpoint, retry=QUICK))


def hasty(store: S3Store) -> S3Store:
    return S3Store("hasty", replace(store.config, retry=HASTY))


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_passing_faults_are_outlived(store: S3Store, proxy: FaultyProxy, status: int) -> None:
    proxy.faults += [Fault(times=2, method="PUT", status=status), Fault(times=2, method="GET", status=status)]
    store.put(NAME, BODY)
    assert store.get(NAME) == BODY
    assert proxy.seen.count("PUT") == 3


@pytest.mark.parametrize("status", [500, 503])
def test_a_store_that_stays_broken_is_unavailable_within_the_limit(
    store: S3Store, proxy: FaultyProxy, status: int
) -> None:
    proxy.faults.append(Fault(times=10**6, status=status, code="SlowDown", message=""))
    asks: list[Callable[[], object]] = [
        lambda: hasty(store).put("v1/x", b"x"),
        lambda: hasty(store).get("v1/x"),
        lambda: hasty(store).stat("v1/x"),
        lambda: list(hasty(store).list("v1/")),
    ]
    for ask in asks:
        before = len(proxy.seen)
        with pytest.raises(StoreUnavailable, match=str(status)) as caught:
            ask()
        assert 1 <= len(proxy.seen) - before <= MOST_TRIES
        assert caught.value.message.startswith("store hasty: v1/")
        assert "None" not in caught.value.message


def test_a_lost_answer_to_a_put_is_a_success_on_retry(store: S3Store, proxy: FaultyProxy) -> None:
    proxy.faults.append(Fault(method="PUT", lose_answer=True))
    store.put(NAME, BODY)
    assert proxy.seen.count("PUT") == 2
    assert store.get(NAME) == BODY


def test_a_silent_store_is_unavailable_after_the_stall_timeout(store: S3Store, proxy: FaultyProxy) -> None:
    proxy.faults.append(Fault(times=10**6, delay=NEVER))
    with pytest.raises(StoreUnavailable):
        hasty(store).get(NAME)
    with pytest.raises(StoreUnavailable):
        hasty(store).put(NAME, BODY)
    assert len(proxy.seen) <= 2 * MOST_SILENT_TRIES


def test_a_dripping_store_is_unavailable_at_the_deadline(store: S3Store, proxy: FaultyProxy) -> None:
    store.put("v1/drip", BODY)
    proxy.faults.append(Fault(times=10**6, method="GET", slow=0.00001))
    strict = replace(store.config, retry=msgspec.structs.replace(HASTY, total=0.3, slowest=10**9))
    with pytest.raises(StoreUnavailable, match="slowly"):
        S3Store("strict", strict).get("v1/drip")
    with pytest.raises(StoreUnavailable, match="slowly"):
        S3Store("strict", strict).check("v1/drip")
    with pytest.raises(StoreUnavailable, match="slowly"):
        get_signed(store.sign_get("v1/drip"), retry=strict.retry)


def test_a_body_cut_short_is_read_again_and_never_handed_out(store: S3Store, proxy: FaultyProxy) -> None:
    store.put("v1/x", BODY)
    proxy.faults += [Fault(method="GET", cut=100_000, alter=lambda body: body), Fault(method="GET", cut=0)]
    assert store.get("v1/x") == BODY
    assert proxy.seen.count("GET") >= 2
    store.put(NAME, BODY)
    proxy.faults += [Fault(method="GET", cut=100_000, alter=lambda body: body), Fault(method="GET", cut=0)]
    assert store.check(NAME) == len(BODY)  # a line that breaks is no damage


def test_bytes_flipped_on_the_way_to_the_store_are_refused_and_sent_again(store: S3Store, proxy: FaultyProxy) -> None:
    proxy.faults.append(Fault(method="PUT", alter_request=lambda body: body[:-1] + b"\x00"))
    store.put(NAME, BODY)
    assert proxy.seen.count("PUT") == 2
    assert store.get(NAME) == BODY


def test_bytes_flipped_on_the_way_back_never_pass_for_a_hashed_name(store: S3Store, proxy: FaultyProxy) -> None:
    store.put(NAME, BODY)
    proxy.faults.append(Fault(times=10**6, method="GET", alter=lambda body: body[:-1] + b"\x00"))
    with pytest.raises((ObjectCorrupt, StoreUnavailable)):
        hasty(store).get(NAME)
    proxy.faults[:] = [Fault(method="GET", alter=lambda body: body[:-1] + b"\x00")]
    assert store.get(NAME) == BODY  # flipped once only: the version that matches is read
    proxy.faults[:] = [Fault(method="GET", alter=lambda body: body[:-1] + b"\x00")]
    assert store.check(NAME) == len(BODY)  # nor is it called damaged
    proxy.faults[:] = [Fault(times=10**6, method="GET", alter=lambda body: body[:-1] + b"\x00")]
    with pytest.raises((ObjectCorrupt, StoreUnavailable)):
        hasty(store).check(NAME)


def test_a_mend_whose_answer_is_lost_is_done_and_whole(store: S3Store, proxy: FaultyProxy) -> None:
    store.client.put_object(Bucket=store.config.bucket, Key=store.key(NAME), Body=b"rotten")
    proxy.faults += [Fault(times=2, method="PUT", status=503), Fault(method="PUT", lose_answer=True)]
    store.repair(NAME, BODY)
    assert store.check(NAME) == len(BODY)


def test_a_full_store_is_said_to_be_full_without_retries(store: S3Store, proxy: FaultyProxy) -> None:
    proxy.faults += [Fault(method="PUT", status=507), Fault(method="PUT", status=403, code="QuotaExceeded")]
    for _ in range(2):
        with pytest.raises(StoreFull):
            store.put(NAME, BODY)
    assert proxy.seen == ["PUT", "PUT"]
    store.put(NAME, BODY)


def test_a_wrong_clock_is_named(store: S3Store, proxy: FaultyProxy) -> None:
    proxy.faults.append(Fault(status=403, code="RequestTimeTooSkewed", message="The difference is too large."))
    with pytest.raises(StoreRefused, match="RequestTimeTooSkewed") as caught:
        store.put(NAME, BODY)
    assert "clock" in caught.value.hint


def test_an_hour_off_is_named_even_where_the_server_gives_no_reason(store: S3Store, proxy: FaultyProxy) -> None:
    hour_ago = email.utils.formatdate(time.time() - 3600, usegmt=True)
    proxy.faults.append(Fault(times=10, status=403, headers=(("Date", hour_ago),)))
    for ask in (lambda: store.stat("v1/x"), lambda: put_signed(*sign(store), BODY, retry=QUICK)):
        with pytest.raises(StoreRefused, match=r"-3[56]\d\d s") as caught:
            ask()
        assert "clock" in caught.value.hint


def test_a_wrong_credential_is_refused_by_the_real_server(s3_server: S3Server) -> None:
    config = s3_server.config(s3_server.shared_bucket(), credentials=Credentials("tester", "wrong"))
    with pytest.raises(StoreRefused, match="403"):
        S3Store("wrong", config).put("v1/x", b"x")
    with pytest.raises(StoreRefused):
        S3Store("wrong", config).stat("v1/x")


def test_a_missing_bucket_is_refused_with_its_hint(s3_server: S3Server) -> None:
    store = S3Store("none", s3_server.config("no-such-bucket-here"))
    with pytest.raises(StoreRefused) as caught:
        store.get("v1/x")
    assert "bucket" in caught.value.hint


def test_an_address_where_nobody_listens_is_unavailable(s3_server: S3Server) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        config = s3_server.config("b", endpoint=f"http://127.0.0.1:{held.getsockname()[1]}", retry=HASTY)
        with pytest.raises(StoreUnavailable):
            S3Store("nobody", config).put("v1/x", b"x")


def test_a_certificate_of_an_unknown_authority_is_refused_at_once(s3_server: S3Server) -> None:
    store = S3Store("tls", s3_server.config(s3_server.shared_bucket(), endpoint=s3_server.tls_endpoint))
    with pytest.raises(StoreRefused, match="certificate") as caught:
        store.put("v1/x", b"x")
    assert "ca_file" in caught.value.hint
    with pytest.raises(StoreRefused, match="certificate"):
        get_signed(store.sign_get("v1/x"))


def test_an_authority_file_that_is_not_there_is_refused_at_once(s3_server: S3Server, store: S3Store) -> None:
    with pytest.raises(StoreRefused, match="authority"):
        S3Store("tls", replace(store.config, endpoint=s3_server.tls_endpoint, ca_file="/nonexistent/ca.pem"))
    with pytest.raises(StoreRefused, match="authority"):
        get_signed(store.sign_get("v1/x"), ca_file="/nonexistent/ca.pem")


def test_a_restarted_server_is_found_again(s3_server: S3Server) -> None:
    store = S3Store("offsite", s3_server.config(s3_server.shared_bucket(), prefix="restart"))
    store.put("v1/before", BODY)
    s3_server.restart()
    store.put("v1/after", BODY)
    assert store.get("v1/before") == store.get("v1/after") == BODY


# --- the agent's side -----------------------------------------------------------------------------------------------


def sign(store: S3Store, name: str = NAME, body: bytes = BODY) -> tuple[str, dict[str, str]]:
    signed = store.sign_put(name, len(body), hashlib.sha256(body).digest())
    return signed.url, dict(signed.headers)


def test_a_signed_upload_outlives_passing_faults_and_lost_answers(store: S3Store, proxy: FaultyProxy) -> None:
    proxy.faults += [Fault(method="PUT", status=503), Fault(method="PUT", lose_answer=True)]
    put_signed(*sign(store), BODY, retry=QUICK)
    assert proxy.seen.count("PUT") == 3
    proxy.faults += [Fault(method="GET", status=500), Fault(method="GET", cut=5), Fault(method="GET", lose_answer=True)]
    assert get_signed(store.sign_get(NAME), 5, 50_000, retry=QUICK) == BODY[5:50_005]


def test_a_signed_upload_ends_in_time_on_a_silent_or_broken_store(store: S3Store, proxy: FaultyProxy) -> None:
    for fault, most in ((Fault(delay=NEVER), MOST_SILENT_TRIES), (Fault(status=500), MOST_TRIES)):
        proxy.faults[:] = [replace(fault, times=10**6)]
        before = len(proxy.seen)
        with pytest.raises(StoreUnavailable):
            put_signed(*sign(store), BODY, retry=HASTY)
        assert 1 <= len(proxy.seen) - before <= most


def test_a_signed_upload_says_full_and_refused(store: S3Store, proxy: FaultyProxy) -> None:
    proxy.faults.append(Fault(method="PUT", status=507))
    with pytest.raises(StoreFull):
        put_signed(*sign(store), BODY, retry=QUICK)
    url, headers = sign(store)
    with pytest.raises(StoreRefused):
        put_signed(url.replace("X-Amz-Signature=", "X-Amz-Signature=0"), headers, BODY, retry=QUICK)


def test_a_signed_upload_of_other_bytes_never_leaves_the_agent(store: S3Store, proxy: FaultyProxy) -> None:
    with pytest.raises(StoreRefused, match="other bytes"):
        put_signed(*sign(store), BODY[:-1] + b"!", retry=QUICK)
    assert proxy.seen == []


def test_a_taken_name_is_a_success_unless_the_store_reports_another_digest(store: S3Store, proxy: FaultyProxy) -> None:
    put_signed(*sign(store), BODY, retry=QUICK)
    put_signed(*sign(store), BODY, retry=QUICK)
    assert proxy.seen == ["PUT", "PUT"]
    liar = Fault(method="PUT", status=412, headers=(("x-amz-checksum-sha256", "AAAA"),))
    proxy.faults.append(liar)
    with pytest.raises(ObjectExists, match="another digest"):
        put_signed(*sign(store), BODY, retry=QUICK)


def test_an_expired_url_is_refused_and_says_so(store: S3Store) -> None:
    brief = S3Store("brief", replace(store.config, sign_seconds=1))
    url, headers = sign(brief)
    refusals: list[StoreRefused] = []

    def refused() -> bool:
        try:
            put_signed(url, headers, BODY, retry=QUICK)
        except StoreRefused as refusal:
            refusals.append(refusal)
        return bool(refusals)

    wait_until(refused, pause=0.2)  # the server's clock has whole seconds
    assert "expired" in refusals[0].message.lower()


def test_reading_past_the_end_by_url_is_said_or_given_short(store: S3Store) -> None:
    store.put("v1/x", BODY)
    url = store.sign_get("v1/x")
    with pytest.raises(ObjectCorrupt):
        get_signed(url, len(BODY) - 5, 10, retry=QUICK)
    with pytest.raises(ObjectCorrupt):
        get_signed(url, len(BODY) + 5, 10, retry=QUICK)
    assert get_signed(url, len(BODY) - 5, 10, retry=QUICK, short_ok=True) == BODY[-5:]
    assert get_signed(url, len(BODY) + 5, 10, retry=QUICK, short_ok=True) == b""
    assert get_signed(url, retry=QUICK) == BODY


def test_a_signature_never_reaches_a_log_or_an_error(
    store: S3Store, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
) -> None:
    url, headers = sign(store)
    signature = url.split("X-Amz-Signature=")[1][:16]
    caplog.set_level(logging.DEBUG, logger="urllib3")
    faults = (
        Fault(status=403, code="AccessDenied"),
        Fault(times=10**6, lose_answer=True),
        Fault(times=10**6, status=500),
    )
    for fault in faults:
        proxy.faults[:] = [fault]
        with pytest.raises((StoreRefused, StoreUnavailable)) as caught:
            put_signed(url, headers, BODY, retry=HASTY)
        assert signature not in repr(caught.value) + caught.value.where
    assert caplog.records
    assert signature not in caplog.text
