"""The policy folder: every file is read, and everything that is wrong is reported at once.

Layout: ``inventory.yaml``, one ``<system>.yaml`` for each system, ``levels/<edition>.yaml`` (drbackup's own
where absent). Hidden files and other endings are skipped. Reading never writes.

A caller that writes or plans by policy uses :func:`load`. There an error in any file loads nothing, so a bad file can
never unload a good policy in use. A caller that reads or restores uses :func:`load_readable`. There a file with an
error is named in :attr:`PolicySet.broken`, nothing of it is used, and the other files are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

import drbackup
from drbackup.errors import PolicyError, Said, say, say_all
from drbackup.model.consistency import InventoryFile, PolicyFile, check_references
from drbackup.model.document import Document, Finding, nearest, parse_document
from drbackup.model.explain import explain
from drbackup.model.inventory import Inventory
from drbackup.model.levels import LevelTable
from drbackup.model.policy import Defaults, Policy
from drbackup.model.promises import check_promises

INVENTORY = "inventory.yaml"
LEVELS = "levels"
_ENDINGS = (".yaml", ".yml")
_MOST_BYTES = 4 * 1024 * 1024

M = TypeVar("M", bound=BaseModel)


class BrokenFile(msgspec.Struct, frozen=True):
    """A file with an error. Nothing of it is used."""

    file: str
    system: str  # whose policy it is, by its content or else by its name; empty: it is no policy
    errors: tuple[Finding, ...]  # at least one; of another file when the error is only there

    def __str__(self) -> str:
        return str(self.said)

    @property
    def said(self) -> Said:
        """The first error as ``file:line:column: what`` and the number of others, for a person's language."""
        first, more = self.errors[0], len(self.errors) - 1
        what = say("{place}: {what}", place=first.place, what=say(first.message))
        return say("{what} (and {more} more)", what=what, more=more) if more else what


class PolicySet(msgspec.Struct, frozen=True):
    """The valid content of a policy folder."""

    folder: Path
    policies: dict[str, Policy]  # by system
    inventory: Inventory
    levels: LevelTable | None  # None: broken
    findings: tuple[Finding, ...] = ()  # errors and warnings
    digest: str = ""  # SHA-256, hex, over names and bytes of all files read; it shows whether they changed
    broken: tuple[BrokenFile, ...] = ()  # empty unless it comes from load_readable()

    @property
    def broken_systems(self) -> frozenset[str]:
        """The systems whose policies are broken."""
        return frozenset(each.system for each in self.broken if each.system)

    def require_whole(self) -> Self:
        """This set itself. Raises :class:`PolicyError` with every error when any file is broken."""
        if self.broken:
            raise _refusal(self.folder, tuple(found for found in self.findings if found.severity == "error"))
        return self

    def require_known(self, system: str) -> None:
        """A guarantee that no file of the system is broken. Raises :class:`PolicyError` with its errors."""
        found = [each for each in self.broken if each.system == system]
        if found:
            raise _refusal(self.folder, tuple(dict.fromkeys(error for each in found for error in each.errors)))


class Inspection(msgspec.Struct, frozen=True):
    """The result of reading a folder."""

    findings: tuple[Finding, ...]  # errors and warnings
    readable: PolicySet | None  # None: the inventory is broken

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def policy_set(self) -> PolicySet | None:
        """The whole folder's policies. None when any finding is an error."""
        return None if self.readable is None or self.readable.broken else self.readable


def load(folder: Path) -> PolicySet:
    """The folder's policies. Raises :class:`PolicyError`, whose message holds every error."""
    return load_readable(folder).require_whole()


def load_readable(folder: Path) -> PolicySet:
    """The folder's valid policies, with the other files in ``broken``.

    Raises :class:`PolicyError` when the inventory is broken: without it nobody knows where the stores are.
    """
    inspection = inspect_folder(folder)
    if inspection.readable is None:
        raise _refusal(folder, inspection.errors)
    return inspection.readable


def _refusal(folder: Path, errors: tuple[Finding, ...]) -> PolicyError:
    count = len(errors)
    first = say("{n} error in {folder}" if count == 1 else "{n} errors in {folder}", n=count, folder=folder)
    lines = [first, *(line for finding in errors for line in finding.lines())]
    return PolicyError(say_all(lines, "\n"), where=str(errors[0]))


def inspect_folder(folder: Path) -> Inspection:
    """The findings of all files, and what can be used of them.

    Raises :class:`PolicyError` only when there is no such folder.
    """
    if not folder.is_dir():
        raise PolicyError(
            say("there is no policy folder {folder}", folder=folder),
            hint="name it with --policies or DRBACKUP_POLICIES; an example is the policies/ folder that comes with "
            "drbackup",
        )
    reading = _Reading(folder)
    inventory = reading.inventory()
    levels = reading.levels(inventory)
    zone = inventory.inventory.time_zone if inventory.inventory else "Asia/Shanghai"
    defaults = levels.defaults(zone) if levels else Defaults({}, zone)
    files = [reading.policy(path, defaults, levels) for path in reading.policy_paths()]
    if not files:
        reading.findings.append(Finding(str(folder), 1, 1, "", "the folder has no policy", "add <system>.yaml files"))
    reading.findings += check_references(files, inventory)
    reading.findings += check_promises(files, inventory, levels)
    findings = tuple(sorted(set(reading.findings), key=lambda finding: finding.order))
    errors: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.severity == "error":
            errors.setdefault(finding.file, []).append(finding)
    if inventory.inventory is None or inventory.document.file in errors:
        return Inspection(findings, None)
    broken = tuple(_broken(files, errors))
    unknown = {each.system for each in broken}  # with two files for one system, neither is used
    held = {each.policy.system: each.policy for each in files if each.policy and each.policy.system not in unknown}
    digest = reading.digest.hexdigest()
    return Inspection(findings, PolicySet(folder, held, inventory.inventory, levels, findings, digest, broken))


def _broken(files: Sequence[PolicyFile], errors: Mapping[str, list[Finding]]) -> Iterator[BrokenFile]:
    """The broken files, by name. ``errors``: file → its errors, of all files but the inventory."""
    systems = {file.document.file: file.system for file in files}
    elsewhere = [error for name, found in errors.items() if name not in systems for error in found]
    leaning = {file.document.file for file in files if file.policy is None and file.document.file not in errors}
    for name in sorted({*errors, *leaning}):
        yield BrokenFile(name, systems.get(name, ""), tuple(errors.get(name, elsewhere)))


class _Reading:
    """One reading of a folder. It gathers the findings and the digest of what was read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.findings: list[Finding] = []
        self.digest = hashlib.sha256()

    def inventory(self) -> InventoryFile:
        path = self.folder / INVENTORY
        if not path.exists():
            finding = Finding(str(path), 1, 1, "", "the inventory is missing", "it names the agents and stores")
            self.findings.append(finding)
            return InventoryFile(Document(str(path), "", None, {}, {}, ()), None)
        document = self._document(path)
        return InventoryFile(document, self._model(document, Inventory))

    def levels(self, inventory: InventoryFile) -> LevelTable | None:
        values = inventory.document.values
        named = values.get("levels", "gbt20988-2007") if isinstance(values, dict) else None
        if not isinstance(named, str) or "/" in named:
            return None
        path = self.folder / LEVELS / f"{named}.yaml"
        if not path.exists():
            path = shipped_levels() / f"{named}.yaml"
        if not path.exists():
            present = [other.stem for each in (self.folder / LEVELS, shipped_levels()) for other in each.glob("*.yaml")]
            hint = nearest(named, present) or say(
                "copy the file {named}.yaml into {folder}", named=named, folder=self.folder / LEVELS
            )
            self.findings.append(
                inventory.document.finding(("levels",), say("there is no level table '{named}'", named=named), hint)
            )
            return None
        return self._model(self._document(path), LevelTable)

    def policy_paths(self) -> list[Path]:
        return sorted(
            path
            for path in self.folder.iterdir()
            if path.suffix in _ENDINGS and not path.name.startswith(".") and path.name != INVENTORY and path.is_file()
        )

    def policy(self, path: Path, defaults: Defaults, levels: LevelTable | None) -> PolicyFile:
        document = self._document(path)
        if levels is None and isinstance(document.values, dict) and "objectives" not in document.values:
            # The missing level table is reported already; that this file needs it is no second mistake.
            return PolicyFile(document, None)
        file = PolicyFile(document, self._model(document, Policy, defaults))
        if file.policy is not None and file.policy.system != path.stem:
            hint = say("rename the file to {system}.yaml", system=file.policy.system)
            message = say("the file of '{system}' is not named after it", system=file.policy.system)
            self.findings.append(document.finding(("system",), message, hint, severity="warning"))
        return file

    def _document(self, path: Path) -> Document:
        try:
            data = path.read_bytes()
            if len(data) > _MOST_BYTES:
                raise OSError(f"{len(data)} bytes are too many for a policy")
        except OSError as error:
            finding = Finding(str(path), 1, 1, "", say("the file can't be read: {why}", why=error.strerror or error))
            self.findings.append(finding)
            return Document(str(path), "", None, {}, {}, (finding,))
        self.digest.update(b"%s\0%d\0" % (path.name.encode(errors="surrogateescape"), len(data)) + data)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            finding = Finding(str(path), line, 1, "", "not UTF-8 text", "save the file in UTF-8 (not GBK or UTF-16)")
            self.findings.append(finding)
            return Document(str(path), "", None, {}, {}, (finding,))
        document = parse_document(text, str(path))
        self.findings += document.findings
        return document

    def _model(self, document: Document, model: type[M], context: Defaults | None = None) -> M | None:
        if document.values is None:
            if not document.findings:
                self.findings.append(document.finding((), "the file says nothing"))
            return None
        if not isinstance(document.values, dict):
            self.findings.append(document.finding((), "the file must be a mapping of keys and values"))
            return None
        try:
            return model.model_validate(document.values, context=context)
        except ValidationError as error:
            self.findings += explain(error, document, model)
            return None


def shipped_levels() -> Path:
    """The folder of the level tables that come with drbackup, for policy folders without a table of that name.

    It is inside the package of a wheel, and beside it in a source tree.
    """
    package = Path(drbackup.__file__).resolve().parent
    inside = package / LEVELS
    return inside if inside.is_dir() else package.parent / "policies" / LEVELS
