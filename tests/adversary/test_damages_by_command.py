"""The real command on a real folder store that somebody has been at: it says what is wrong, or gives the right data."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.adversary.damages import EVERYTHING
from tests.support.cities.site import Answer, Site

GOOD_ENDS = {0, 1, 3, 10, 12}  # done, failed, in part, no vault, wrong key: never a usage error, never a crash
READERS = (
    ("points", "list"),
    ("vault", "scrub"),
    ("evidence", "verify", "--stores"),
)


def flipped(data: bytes, _others: list[bytes]) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def cut(data: bytes, _others: list[bytes]) -> bytes:
    return data[: len(data) // 2]


def emptied(_data: bytes, _others: list[bytes]) -> bytes:
    return b""


def another(data: bytes, others: list[bytes]) -> bytes:
    return next(each for each in others if each != data)


DAMAGES: dict[str, tuple[str, Callable[[bytes, list[bytes]], bytes]]] = {
    "data packs flipped": ("d/*/p/*", flipped),
    "records exchanged": ("r/*/*", another),
    "tree packs cut": ("d/*/t/*", cut),
    "indexes emptied": ("d/*/i/*", emptied),
    "evidence emptied": ("e/*/*", emptied),
    "the vault's description flipped": ("vault", flipped),
}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A point of each of two sources, and a drill's evidence."""
    site = Site(tmp_path_factory.mktemp("town"))
    site.fill()
    site.write()
    site.found()
    site.good("backup", "--all")
    site.good("drill", "run", "registry")
    return site


@pytest.fixture
def store(town: Site) -> Iterator[Path]:
    """The store's folder, put back afterwards; so is the catalog, because a scrub remembers what it saw."""
    folder, kept = town.folder / "store", town.folder / "kept"
    shutil.copytree(folder, kept / "store")
    shutil.copytree(town.home, kept / "home")
    yield folder
    shutil.rmtree(folder)
    shutil.rmtree(town.home)
    shutil.move(kept / "store", folder)
    shutil.move(kept / "home", town.home)
    kept.rmdir()


def require_said(answer: Answer, words: tuple[str, ...]) -> None:
    assert answer.code in GOOD_ENDS, f"{words}: {answer.code}\n{answer.out}\n{answer.err}"
    for sign in ("Traceback", "fault in drbackup", "Error:"):
        assert sign not in answer.err, f"{words}:\n{answer.err}"


@pytest.mark.parametrize("damage", DAMAGES if EVERYTHING else list(DAMAGES)[:2])  # each takes a dozen processes
def test_a_command_says_what_is_wrong_or_gives_the_right_data(
    town: Site, store: Path, damage: str, tmp_path: Path
) -> None:
    pattern, change = DAMAGES[damage]
    victims = [path for path in store.rglob("v1/" + pattern) if path.is_file()]
    contents = [path.read_bytes() for path in victims]
    assert victims
    for path, data in zip(victims, contents, strict=True):
        path.unlink()
        path.write_bytes(change(data, contents))
    target = tmp_path / "out"
    restored = town.run("restore", "registry/scans", "--to", str(target))
    require_said(restored, ("restore",))
    if restored.code == 0:
        require_true(town, target)
    (town.home / "catalog.sqlite").rename(town.home / "away")
    require_said(town.run("vault", "rebuild"), ("vault", "rebuild"))
    (town.home / "away").rename(town.home / "catalog.sqlite")
    for words in READERS:
        answer = town.run(*words)
        require_said(answer, words)
        if words == ("vault", "scrub") and damage != "indexes emptied":
            assert answer.code == 1
            assert any(path.name[-64:][:12] in answer.out + answer.err for path in victims)


def require_true(town: Site, target: Path) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert contents(target) == contents(town.scans)
