"""Every answer of a server becomes the right class, and only what may pass is tried again."""

from __future__ import annotations

import pytest

from drbackup.errors import (
    DrbackupError,
    ObjectCorrupt,
    ObjectExists,
    ObjectMissing,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from drbackup.stores.retry import TryAgain
from drbackup.stores.s3.status import error_for, read_error


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (404, "NoSuchKey", "", ObjectMissing),
        (404, "404", "Not Found", ObjectMissing),
        (405, "MethodNotAllowed", "a delete marker", ObjectMissing),
        (404, "NoSuchBucket", "", StoreRefused),
        (412, "PreconditionFailed", "", ObjectExists),
        (416, "InvalidRange", "", ObjectCorrupt),
        (403, "AccessDenied", "", StoreRefused),
        (403, "SignatureDoesNotMatch", "", StoreRefused),
        (403, "RequestTimeTooSkewed", "", StoreRefused),
        (403, "QuotaExceeded", "", StoreFull),
        (507, "", "", StoreFull),
        (500, "InternalError", "No writable volumes", StoreFull),
        (400, "InvalidArgument", "", StoreRefused),
        (301, "PermanentRedirect", "", StoreRefused),
    ],
)
def test_an_answer_that_can_not_change_is_raised_at_once(
    status: int, code: str, message: str, kind: type[DrbackupError]
) -> None:
    found = error_for(status, code, message, "v1/x")
    assert type(found) is kind
    assert isinstance(found, DrbackupError)
    assert found.where == "v1/x"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalError"),
        (502, ""),
        (503, "SlowDown"),
        (504, ""),
        (599, ""),
        (429, ""),
        (408, "RequestTimeout"),
        (400, "RequestTimeout"),
        (409, "ConditionalRequestConflict"),
        (400, "BadDigest"),
    ],
)
def test_an_answer_that_may_pass_is_tried_again(status: int, code: str) -> None:
    found = error_for(status, code, "", "v1/x")
    assert isinstance(found, TryAgain)
    assert type(found.error) is StoreUnavailable


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "RequestExpired"])
def test_a_wrong_clock_is_named_in_the_hint(code: str) -> None:
    found = error_for(403, code, "", "v1/x")
    assert isinstance(found, StoreRefused)
    assert "clock" in found.hint
    assert "NTP" in found.hint


def test_reads_code_and_message_of_an_error_document() -> None:
    assert read_error(b"<Error><Code>SlowDown</Code><Message>please \n wait</Message></Error>") == (
        "SlowDown",
        "please \n wait",
    )
    assert read_error(b"<html>502 bad gateway</html>") == ("", "")
    assert read_error(b"\xff\xfe") == ("", "")
