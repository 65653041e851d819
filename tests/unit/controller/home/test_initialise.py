"""Making and opening an installation."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drbackup.controller.home import initialise as initialising
from drbackup.controller.home.initialise import extend, initialise
from drbackup.controller.home.installation import Installation
from drbackup.controller.home.keyfiles import CATALOG_KEY, read_seed, write_seeds
from drbackup.errors import CatalogUnusable, SignatureInvalid, StoreUnavailable, UsageError, VaultMissing, WrongKey
from drbackup.vault.custody import join_shares
from drbackup.vault.description import VaultDescription, create_vault
from drbackup.vault.keys import RECOVERY, SealKey, SigningKey
from tests.support.cities.small_city import SYSTEM, SmallCity

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def city(tmp_path: Path) -> SmallCity:
    return SmallCity(tmp_path).build()


def test_any_threshold_of_shares_is_the_recovery_key_and_it_is_written_nowhere(city: SmallCity) -> None:
    made = city.new_installation
    assert made is not None
    seed = join_shares(made.shares[1:])
    recovery = SealKey.from_seed(RECOVERY, seed).recipient
    assert recovery in made.vault.recipients
    for path in city.root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert seed not in data
            assert seed.hex().encode() not in data
            assert made.shares[0].encode() not in data
    assert made.shares[0] not in repr(made)


def test_keys_are_for_the_owner_only(city: SmallCity) -> None:
    keys = city.home / "keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    assert {path.name for path in keys.iterdir()} == {"catalog.key", "evidence.key", "domains.key", "drill.key"}


def test_a_second_init_is_refused_and_changes_nothing(city: SmallCity) -> None:
    before = {path: path.read_bytes() for path in city.root.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="already"):
        initialise(city.home, city.policies, (2, 3), now=datetime.now(UTC))
    with pytest.raises(UsageError, match="vault already"):
        initialise(city.root / "another-home", city.policies, (2, 3), now=datetime.now(UTC))
    assert {path: path.read_bytes() for path in city.root.rglob("*") if path.is_file()} == before


def test_an_impossible_number_of_custodians_makes_nothing(tmp_path: Path) -> None:
    city = SmallCity(tmp_path)
    city.policies.mkdir()
    city.copy_levels()
    city.write_policies()
    with pytest.raises(UsageError):
        initialise(city.home, city.policies, (4, 3), now=datetime.now(UTC))
    assert not city.home.exists()
    assert not (tmp_path / "store-main").exists()


def test_a_store_that_is_away_gets_its_vault_later(tmp_path: Path) -> None:
    city = SmallCity(tmp_path)
    city.policies.mkdir()
    city.copy_levels()
    city.write_policies()
    text = (city.policies / "inventory.yaml").read_text()
    away = tmp_path / "mount" / "usb"
    (city.policies / "inventory.yaml").write_text(text.replace(str(tmp_path / "store-other"), str(away)))
    made = initialise(city.home, city.policies, (1, 1), now=NOW)
    assert (made.stores, set(made.pending)) == (("main",), {"other"})
    away.parent.mkdir()
    with city.open() as installation:
        assert extend(installation, now=NOW) == ("other",)
        assert extend(installation, now=NOW) == ()
        assert installation.vault("other") == installation.vault("main") == made.vault


def test_without_any_store_there_is_no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    city = SmallCity(tmp_path)
    city.policies.mkdir()
    city.copy_levels()
    city.write_policies()

    def refuse(*_: object) -> None:
        raise StoreUnavailable("no route")

    monkeypatch.setattr(initialising, "create_vault", refuse)
    with pytest.raises(StoreUnavailable):
        initialise(city.home, city.policies, (1, 1), now=NOW)
    with pytest.raises(VaultMissing):
        city.open()


def test_a_lost_catalog_is_never_replaced_by_an_empty_one_in_silence(city: SmallCity) -> None:
    (city.home / "catalog.sqlite").unlink()
    with pytest.raises(CatalogUnusable, match="gone"):
        city.open()
    with Installation.open(city.home, city.policies, new_catalog=True) as installation:
        assert list(installation.catalog.points.list()) == []


def test_a_home_without_an_installation_says_so(tmp_path: Path) -> None:
    with pytest.raises(VaultMissing, match="no installation"):
        Installation.open(tmp_path, tmp_path)


def test_a_store_that_hands_out_another_vault_is_not_written_to(city: SmallCity) -> None:
    (city.root / "store-main" / "v1" / "vault").unlink()
    thief = SigningKey.from_seed(b"\x05" * 32)
    with city.open() as installation:
        evil = VaultDescription("00", 0, installation.vault("other").recipients, thief.public)
        create_vault(installation.store("main"), evil, thief)
        with pytest.raises(SignatureInvalid):
            installation.domain_keys("db1", "main")


def test_names_that_do_not_exist_are_answered_with_those_that_do(city: SmallCity) -> None:
    with city.open() as installation:
        for ask, known in (
            (installation.policy, SYSTEM),
            (installation.agent, "db1.bureau"),
            (installation.store, "main, other"),
        ):
            with pytest.raises(UsageError) as caught:
                ask("nothing")
            assert known in caught.value.hint


def test_credentials_of_systemd_come_before_the_home(city: SmallCity, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / CATALOG_KEY).write_text("ab" * 32 + "\n")
    environment = {"CREDENTIALS_DIRECTORY": str(folder)}
    assert read_seed(city.home / "keys", CATALOG_KEY, environment) == b"\xab" * 32
    assert read_seed(city.home / "keys", "evidence.key", environment) == read_seed(
        city.home / "keys", "evidence.key", {}
    )


@pytest.mark.parametrize("text", ["", "zz" * 32, "ab" * 31, "ab" * 33, "é"])
def test_a_damaged_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.key").write_text(text)
    with pytest.raises(WrongKey) as caught:
        read_seed(tmp_path, "x.key", {})
    assert not text or text not in caught.value.message


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    write_seeds(tmp_path / "keys", {"x.key": bytes(32)})
    with pytest.raises(OSError, match="not empty"):
        write_seeds(tmp_path / "keys", {"x.key": b"\x01" * 32})
    assert read_seed(tmp_path / "keys", "x.key", {}) == bytes(32)
