"""Recovery by the real command: the plan first, then the systems, then an honest exit code."""

from __future__ import annotations

import secrets
import shutil

from tests.e2e.test_restore_and_drill import contents, rows
from tests.support.cities.site import Site


def test_nothing_is_changed_without_apply(site: Site) -> None:
    site.good("backup", "--all")
    shutil.rmtree(site.scans)
    answer = site.good("recover", "--all")
    assert "Nothing was changed" in answer.out
    assert not site.scans.exists()


def test_a_burnt_system_comes_back_whole(site: Site) -> None:
    site.good("backup", "--all")
    before, register = contents(site.scans), rows(site.register)
    shutil.rmtree(site.folder / "data")
    document = site.good("recover", "registry", "--apply", "--json").document
    assert document["complete"]
    assert document["systems"][0]["kept"]
    assert contents(site.scans) == before
    assert rows(site.register) == register
    site.good("evidence", "verify")


def test_everything_can_be_brought_back_below_a_folder(site: Site) -> None:
    site.good("backup", "--all")
    target = site.folder / "elsewhere"
    site.good("recover", "--all", "--to", str(target), "--apply")
    assert contents(target / "registry" / "scans" / str(site.scans).lstrip("/")) == contents(site.scans)


def test_a_wrong_key_exits_12_before_and_after_apply(site: Site) -> None:
    site.good("backup", "--all")
    wrong = site.folder / "wrong.key"
    wrong.write_text(secrets.token_hex(32))
    shutil.rmtree(site.folder / "data")
    assert site.run("recover", "--all", "--key", str(wrong)).code == 12
    assert site.run("recover", "--all", "--key", str(wrong), "--apply").code == 12


def test_a_system_that_is_not_whole_is_not_called_back(site: Site) -> None:
    site.good("backup", "registry/scans")
    shutil.rmtree(site.folder / "data")
    answer = site.run("recover", "--all", "--apply", "--json")
    assert answer.code != 0
    assert not answer.document["complete"]
    assert answer.document["systems"][0]["state"] != "done"


def test_a_recovery_gone_on_with_does_not_repeat_what_is_back(site: Site) -> None:
    site.good("backup", "--all")
    shutil.rmtree(site.folder / "data")
    site.register.parent.mkdir()
    site.register.write_bytes(b"somebody's new data, not to be overwritten")
    assert site.run("recover", "--all", "--apply").code != 0
    assert site.scans.exists()
    site.register.unlink()
    again = site.good("recover", "--all", "--apply", "--json").document
    assert again["resumed"]
    assert len(rows(site.register)) == 500
