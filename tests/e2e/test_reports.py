"""Pages for people who do not run commands."""

from __future__ import annotations

from pathlib import Path

from drbackup.reader import stranger
from tests.support.cities.site import Site


def test_a_sheet_for_every_system_is_written_and_holds_no_secret(health: Site) -> None:
    folder = health.folder / "sheets"
    said = health.good("report", "sheets", "--to", str(folder), "--json").document
    sheet = folder / "break-glass-registry.html"
    assert said == {"folder": str(folder), "files": [str(sheet)]}
    assert sheet.stat().st_mode & 0o777 == 0o600
    assert (folder / "stranger.py").read_bytes() == Path(stranger.__file__).read_bytes()
    text = sheet.read_text(encoding="utf-8")
    assert str(health.folder / "store") in text
    for key in (health.home / "keys").iterdir():
        assert key.read_text(encoding="ascii").strip() not in text


def test_a_new_installations_month_begins_with_its_first_point(site: Site) -> None:
    bare = site.good("report", "month").out
    assert "1 system is not protected" in bare
    assert "GAP (no point yet: register, scans)" in bare
    site.good("backup", "--all")
    system = site.good("report", "month", "--json").document["systems"][0]
    assert system["gaps"] == []
    assert system["in_rpo"] == 1
    assert system["in_rpo_since"] is not None
