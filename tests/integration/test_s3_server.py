"""The test service itself: what other tests rely on."""

from __future__ import annotations

import pytest

from drbackup.stores.s3.store import S3Store
from tests.support.services.seaweedfs import S3Server

pytestmark = pytest.mark.s3


def test_acknowledged_objects_survive_a_kill_of_the_server(s3_server: S3Server, s3_store: S3Store) -> None:
    s3_store.put("v1/d/db1/p/one", b"durable" * 1000)
    s3_server.restart()
    assert s3_store.get("v1/d/db1/p/one") == b"durable" * 1000
