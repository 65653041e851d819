"""The agent's bundle: one executable file with everything the agent imports, built offline with shiv.

The parts are taken from the distributions installed beside drbackup itself. So no index and no compiler is needed, and
the agent runs the same versions that were tested here. Only what the agent imports goes in. The modules of ``drbackup``
are found by following imports from ``drbackup_agent``. :data:`FORBIDDEN` may not be among the parts. The same inputs
give the same bytes, so a bundle's SHA-256 names it on every controller.

The controller never imports the agent: it reads the agent's source files here, and elsewhere only its messages.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from shiv.bootstrap.environment import Environment  # type: ignore[import-untyped]
from shiv.builder import create_archive  # type: ignore[import-untyped]

from drbackup import __version__
from drbackup.errors import HostUnsuitable, say

BUNDLED = ("blake3", "cryptography", "msgspec", "psutil", "pyfastcdc", "urllib3", "zstandard")
"""The agent's dependencies; what they require in turn comes along."""

FORBIDDEN = ("paramiko", "boto3", "botocore", "sqlalchemy", "pydantic", "click", "alembic")
_OURS = ("drbackup_agent", "drbackup")
_LEFT_OUT = ("zstandard/_cffi", "zstandard/backend_cffi")  # a second backend, half of the whole size, never chosen
_MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)_")
_DATE = (1980, 1, 1, 0, 0, 0)
_BUILT_AT = "1980-01-01 00:00:00"


class Bundle(msgspec.Struct, frozen=True):
    """A built agent file."""

    path: Path
    sha256: str  # hex
    version: str  # of drbackup
    python: str  # like 3.11
    machine: str  # like x86_64
    glibc: str  # the oldest that its native parts run with, like 2.28
    unpacked: int  # bytes that it takes on the host in addition to the file itself

    @property
    def folder_name(self) -> str:
        """The name of this version's folder on a host: ``<version>-<first 12 hex digits of the SHA-256>``."""
        return f"{self.version}-{self.sha256[:12]}"


def build(folder: Path) -> Bundle:
    """The new bundle ``folder/drbackup-agent``. Raises :class:`HostUnsuitable` when a part is not installed here."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "drbackup-agent"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as work:
        staging, made = Path(work) / "site-packages", Path(work) / "drbackup-agent"
        for name in sorted(_distributions()):
            _stage_distribution(name, staging)
        for module, file in sorted(our_modules().items()):
            _stage(file, staging / _place(module, file))
        create_archive(
            [staging],
            target=made,
            interpreter=f"/usr/bin/env python{python}",
            main="drbackup_start:main",
            env=Environment(
                built_at=_BUILT_AT,
                shiv_version=importlib.metadata.version("shiv"),
                entry_point="drbackup_agent.serve:main",
                compile_pyc=True,
                reproducible=True,
            ),
        )
        _add_start(made, python)
        made.chmod(0o755)
        made.replace(target)  # not durably: it can be built again, and is read back whole for its digest below
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    with zipfile.ZipFile(target) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    return Bundle(target, digest, __version__, python, platform.machine(), _oldest_glibc(), unpacked)


def our_modules() -> dict[str, Path]:
    """All modules of the agent, and those of ``drbackup`` that the agent imports: name → source file.

    Raises :class:`HostUnsuitable` when the agent's code is not installed here.
    """
    agent = _source("drbackup_agent")
    if agent is None:
        raise HostUnsuitable("the agent's code is not installed beside drbackup")
    found: dict[str, Path] = {}
    pending = [
        ".".join(("drbackup_agent", *file.relative_to(agent.parent).with_suffix("").parts)).removesuffix(".__init__")
        for file in agent.parent.rglob("*.py")
    ]
    while pending:
        name = pending.pop()
        file = None if name in found else _source(name)
        if file is None:
            continue
        found[name] = file
        pending += [*filter(None, [name.rpartition(".")[0]]), *_imports(file)]
    return found


def _imports(file: Path) -> Iterator[str]:
    """The names of our modules that ``file`` imports, also inside functions, but not for type checkers only."""
    for node in _runtime_nodes(ast.parse(file.read_bytes())):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module)):
                names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            case _:
                continue
        yield from (name for name in names if name.split(".")[0] in _OURS)


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        yield from _runtime_nodes(node)


def _source(module: str) -> Path | None:
    """The module's file, found without importing it. None when ``module`` is a name inside a module."""
    top, _, rest = module.partition(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    base = Path(spec.origin).parent.joinpath(*rest.split(".")) if rest else Path(spec.origin).parent
    for file in (base / "__init__.py", base.with_suffix(".py") if rest else base / "__init__.py"):
        if file.is_file():
            return file
    return None


def _place(module: str, file: Path) -> Path:
    path = Path(*module.split("."))
    return path / "__init__.py" if file.name == "__init__.py" else path.with_suffix(".py")


def _distributions() -> set[str]:
    """:data:`BUNDLED` and what they require on this Python, by name."""
    found: set[str] = set()
    pending = list(BUNDLED)
    while pending:
        name = pending.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        for line in _distribution(name).requires or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                pending.append(need.name)
    unwanted = found.intersection(FORBIDDEN)
    if unwanted:
        raise HostUnsuitable(say("the agent's dependencies drag in {unwanted}", unwanted=", ".join(sorted(unwanted))))
    return found


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as missing:
        raise HostUnsuitable(
            say("the agent needs {name}, which is not installed beside drbackup", name=name),
            hint="install drbackup with its dependencies in one environment, then deploy again",
        ) from missing


def _oldest_glibc() -> str:
    """The oldest glibc that every native part runs with, from the wheels' tags.

    A part that was built on this machine needs this machine's glibc.
    """
    needed = (0, 0)
    for name in _distributions():
        wheel = _distribution(name).read_text("WHEEL") or ""
        platforms = [line.rpartition("-")[2] for line in wheel.splitlines() if line.startswith("Tag: ")]
        if any(one.startswith("linux_") for one in platforms):
            platforms = ["manylinux_{}_{}_".format(*platform.libc_ver()[1].split(".")[:2])]
        found = [_MANYLINUX.search(one) for one in platforms]
        versions = [(int(one[1]), int(one[2])) for one in found if one]
        needed = max(needed, min(versions, default=(0, 0)))
    return f"{needed[0]}.{needed[1]}"


def _stage_distribution(name: str, staging: Path) -> None:
    for entry in _distribution(name).files or ():
        # No scripts (they lie outside: ../../bin), no compiled files, no second copy of a library.
        if ".." in entry.parts or entry.suffix == ".pyc" or str(entry).startswith(_LEFT_OUT):
            continue
        if entry.name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):  # written by the installer
            continue
        source = Path(str(entry.locate()))
        if source.is_file():
            _stage(source, staging / Path(*entry.parts))


def _stage(source: Path, target: Path) -> None:
    """Copies a file, with a mode that does not depend on this machine: nor do the bundle's bytes, then."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.suffix == ".so" else 0o644)


def _add_start(archive_file: Path, python: str) -> None:
    """Adds our own start module, and what the bundle was made for, to shiv's bootstrap."""
    made_for = {
        "system": platform.system(),
        "machine": platform.machine(),
        "python": python,
        "glibc": _oldest_glibc(),
        "version": __version__,
    }
    start = Path(__file__).with_name("bundle_start.py").read_bytes()
    with zipfile.ZipFile(archive_file, "a", compression=zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("drbackup_start.py", start), ("made_for.json", json.dumps(made_for).encode())):
            archive.writestr(zipfile.ZipInfo(name, date_time=_DATE), data, compress_type=zipfile.ZIP_DEFLATED)
