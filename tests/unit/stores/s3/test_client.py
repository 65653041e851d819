"""Where credentials come from, and that they stay there."""

from __future__ import annotations

from pathlib import Path

import pytest

from drbackup.errors import StoreRefused, UsageError
from drbackup.stores.s3.client import Credentials, S3Config, load_credentials, make_client

GOOD = "[default]\naws_access_key_id = AK\naws_secret_access_key = s%cret\n"


def write(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    path = tmp_path / "credentials"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_reads_the_form_operators_know(tmp_path: Path) -> None:
    assert load_credentials(write(tmp_path, GOOD)) == Credentials("AK", "s%cret")


def test_reads_the_environment_when_no_file_is_named() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "sk", "AWS_SESSION_TOKEN": "t"}
    assert load_credentials("", environ) == Credentials("AK", "sk", "t")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (GOOD, 0o644),
        ("nonsense s%cret", 0o600),
        ("[other]\nx=s%cret", 0o600),
        ("[default]\naws_access_key_id=AK", 0o600),
    ],
)
def test_refuses_a_bad_file_without_quoting_it(tmp_path: Path, text: str, mode: int) -> None:
    with pytest.raises(StoreRefused) as caught:
        load_credentials(write(tmp_path, text, mode))
    assert "s%cret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_refuses_a_missing_file_and_an_empty_environment(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused):
        load_credentials(tmp_path / "nothing")
    with pytest.raises(StoreRefused, match="missing"):
        load_credentials("", {})


def test_secrets_never_show_in_repr() -> None:
    config = S3Config("bucket", Credentials("AK", "hidden", "token"))
    assert "hidden" not in repr(config)
    assert "token" not in repr(config)


@pytest.mark.parametrize(
    ("endpoint", "signed"), [("http://127.0.0.1:1", True), ("https://127.0.0.1:1", False), ("", False)]
)
def test_the_body_is_left_out_of_the_signature_only_over_tls(endpoint: str, signed: bool) -> None:
    settings = make_client(S3Config("bucket", Credentials("AK", "SK"), endpoint=endpoint)).meta.config
    assert settings.s3["payload_signing_enabled"] is signed
    assert settings.request_checksum_calculation == "when_required"


def test_refuses_a_prefix_that_is_no_name() -> None:
    with pytest.raises(UsageError):
        S3Config("bucket", Credentials("AK", "SK"), prefix="../up")
