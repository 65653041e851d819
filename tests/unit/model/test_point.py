"""Names that cross every floor are typed, and have one way in and out of text."""

from __future__ import annotations

import pytest

from drbackup.model.point import DrilledPoint, SourceName, digest_of, kind_of, pack_id


@pytest.mark.parametrize("text", ["registry/scans", "registry"])
def test_a_sources_name_is_read_as_it_is_written(text: str) -> None:
    assert str(SourceName.read(text)) == text


def test_a_sources_name_finds_what_the_plain_pair_was_kept_under() -> None:
    assert {("registry", "scans"): 1}[SourceName.read("registry/scans")] == 1


@pytest.mark.parametrize(
    ("label", "point", "newest"),
    [("scans", DrilledPoint("scans"), True), ("scans@ab12", DrilledPoint("scans", "ab12"), False)],
)
def test_a_drilled_point_is_read_by_its_label_and_knows_whether_it_is_the_newest(
    label: str, point: DrilledPoint, newest: bool
) -> None:
    assert DrilledPoint.read(label) == point
    assert str(point) == label
    assert point.newest is newest


@pytest.mark.parametrize("kind", ["p", "t", "i"])
def test_a_packs_id_is_its_kind_and_its_digest_in_the_bytes_that_records_hold(kind: str) -> None:
    digest = bytes(range(32))
    pack = pack_id(kind, digest)
    assert pack == kind.encode() + digest
    assert (kind_of(pack), digest_of(pack)) == (kind, digest)
