"""With the format's description alone a stranger gets the data back, from fresh vaults and from every released one."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from drbackup.reader import stranger
from tests.golden import make as golden
from tests.support.cities.small_vault import SmallVault

READER = Path(stranger.__file__)
RELEASED = sorted((Path(golden.__file__).parent).glob("v*"))


def run_stranger(store: Path, tmp_path: Path, role: str) -> subprocess.CompletedProcess[str]:
    key = tmp_path / f"{role}.key"
    key.write_text({"recovery": "01" * 32, "drill": "02" * 32, "catalog": "03" * 32}[role] + "\n")
    command = [sys.executable, "-I", READER, store, "golden", "register", key, tmp_path / "out"]
    return subprocess.run([*map(str, command), SmallVault().signer.public.hex()], capture_output=True, text=True)


@pytest.fixture(params=["fresh", *(path.name for path in RELEASED)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param != "fresh":
        return Path(golden.__file__).parent / request.param
    golden.make(tmp_path / "fresh")
    return tmp_path / "fresh"


@pytest.mark.parametrize("role", ["recovery", "drill"])
def test_a_stranger_restores_every_byte_name_and_time(store: Path, tmp_path: Path, role: str) -> None:
    done = run_stranger(store, tmp_path, role)
    assert done.returncode == 0, done.stderr
    out = bytes(tmp_path / "out")
    for name, data in golden.CONTENTS.items():
        path = Path((out + b"/" + name).decode(errors="surrogateescape"))
        assert path.read_bytes() == data
        assert path.stat().st_mtime_ns == golden.MTIME
    sparse = tmp_path / "out/srv/sparse"
    assert sparse.read_bytes() == b"head" + bytes((1 << 20) - 8) + b"tail"
    assert (tmp_path / "out/srv/tables/same").stat().st_ino == (tmp_path / "out/srv/tables/ledger.copy").stat().st_ino


def test_the_catalog_key_restores_nothing(store: Path, tmp_path: Path) -> None:
    done = run_stranger(store, tmp_path, "catalog")
    assert done.returncode != 0
    assert "opens nothing here" in done.stderr


def test_our_own_reader_reads_every_released_vault(store: Path) -> None:
    from drbackup.stores.folder.store import DirectoryStore
    from drbackup.vault.keys import Keyring
    from drbackup.vault.record import list_records, read_record, unseal

    vault = SmallVault(DirectoryStore("golden", store))
    (stat,) = list_records(vault.store, "golden")
    sealed = unseal(read_record(vault.store, stat.name, vault.signer.public), Keyring([vault.keys["drill"]]))
    contents = vault.read(sealed.root)
    assert {name: contents[name] for name in golden.CONTENTS} == golden.CONTENTS


def test_the_stranger_shares_no_code_with_us_and_fits_on_paper() -> None:
    source = READER.read_text()
    modules = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        + ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
    }
    assert not {module for module in modules if module.startswith("drbackup")}
    assert len(source.splitlines()) <= 300
