"""What is wrong between files: references to nothing, names given twice, checks that fit no source, cycles.

Pure: documents and models in, findings out. A file that is wrong in itself still counts as existing here. So a mistake
is reported once, and not again for every file that names the wrong one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from drbackup.errors import say
from drbackup.model.checks.kinds import CHECK_KINDS
from drbackup.model.document import Document, Finding, Path, nearest
from drbackup.model.inventory import Inventory
from drbackup.model.plan import find_cycles, hard_dependencies
from drbackup.model.policy import Policy


class PolicyFile(msgspec.Struct, frozen=True):
    """One policy file, right or wrong."""

    document: Document
    policy: Policy | None  # None: the file is wrong in itself

    @property
    def system(self) -> str:
        """The system's name in the file, whatever else is wrong there; without one, the file's name."""
        values = self.document.values
        name = values.get("system") if isinstance(values, dict) else None
        return name if isinstance(name, str) else self.document.file.rpartition("/")[2].rpartition(".")[0]

    def names(self, *keys: str) -> list[tuple[Path, str]]:
        """Every text below ``keys`` with its place, also inside lists, whatever else is wrong in the file."""
        return list(_texts(self.document.values, keys, ()))


class InventoryFile(msgspec.Struct, frozen=True):
    """The inventory's file, right or wrong."""

    document: Document
    inventory: Inventory | None  # None: the file is wrong in itself

    def names(self, section: str) -> set[str] | None:
        """The names in the section ``agents`` or ``stores``; None when the section can't be read."""
        values = self.document.values
        entries = values.get(section) if isinstance(values, dict) else None
        return set(entries) if isinstance(entries, dict) else None


def _texts(value: Any, keys: Sequence[str], path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, keys, (*path, number))
    elif isinstance(value, dict):
        if keys and keys[0] in value:
            yield from _texts(value[keys[0]], keys[1:], (*path, keys[0]))
    elif isinstance(value, str) and not keys:
        yield path, value


def check_references(files: Sequence[PolicyFile], inventory: InventoryFile) -> list[Finding]:
    """Every finding about names across ``files`` and ``inventory``."""
    found = [*_twice(files), *_jumps(inventory), *_cycles(files)]
    systems = {file.system for file in files if file.system}
    agents, stores = inventory.names("agents"), inventory.names("stores")
    for file in files:
        found += _dependencies(file, systems)
        found += _agents(file, agents)
        found += _stores(file, stores)
        found += _sources(file)
        found += _checks(file)
        if file.policy is not None:
            found += _checks_fit(file.document, file.policy)
            found += _unproven(file.document, file.policy)
    return found


def _twice(files: Sequence[PolicyFile]) -> Iterator[Finding]:
    first: dict[str, Document] = {}
    for file in files:
        if not file.system:
            continue
        earlier = first.setdefault(file.system, file.document)
        if earlier is not file.document:
            where = f"{earlier.file}:{earlier.finding(('system',), '').line}"
            hint = say("the other one is at {where}", where=where)
            yield file.document.finding(
                ("system",), say("the system '{system}' has a policy already", system=file.system), hint
            )


def _dependencies(file: PolicyFile, systems: Collection[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    named = {path[:2]: (path, name) for path, name in (*file.names("depends_on"), *file.names("depends_on", "system"))}
    for path, name in named.values():
        if name == file.system:
            yield file.document.finding(path, say("'{name}' depends on itself", name=name), "remove this entry")
        elif name not in systems:
            hint = nearest(name, set(systems) - {file.system})
            yield file.document.finding(path, say("no system '{name}' has a policy here", name=name), hint)
        elif name in seen:
            yield file.document.finding(
                path, say("'{name}' is already in depends_on", name=name), "remove one of the two"
            )
        seen.add(name)


def _agents(file: PolicyFile, agents: set[str] | None) -> Iterator[Finding]:
    for path, name in (*file.names("sources", "agent"), *file.names("drill", "on")):
        if agents is not None and name not in agents:
            yield file.document.finding(
                path, say("inventory.yaml has no agent '{name}'", name=name), nearest(name, agents)
            )


def _stores(file: PolicyFile, stores: set[str] | None) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, name in file.names("copies"):
        if stores is not None and name not in stores:
            yield file.document.finding(
                path, say("inventory.yaml has no store '{name}'", name=name), nearest(name, stores)
            )
        elif name in seen:
            yield file.document.finding(
                path, say("the store '{name}' is named twice", name=name), "one copy there is one copy"
            )
        seen.add(name)


def _sources(file: PolicyFile) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, name in file.names("sources", "name"):
        if name in seen:
            message = say("a source '{name}' is already in this policy", name=name)
            yield file.document.finding(path, message, "their recovery points could not be told apart: rename one")
        seen.add(name)


def _checks(file: PolicyFile) -> Iterator[Finding]:
    sources = {name for _, name in file.names("sources", "name")}
    keys = dict.fromkeys(key for kind in CHECK_KINDS for key in kind.source_keys)
    for path, name in (each for key in keys for each in file.names("drill", "checks", key)):
        if name not in sources:
            yield file.document.finding(
                path, say("this policy has no source '{name}'", name=name), nearest(name, sources)
            )


def _checks_fit(document: Document, policy: Policy) -> Iterator[Finding]:
    for number, check in enumerate(policy.drill.checks if policy.drill else ()):
        form = check.form
        for position, (where, name) in enumerate(form.named):
            source = policy.source(name)
            misfit = form.misfit(position, source.settings) if source else say("")
            if source is not None and misfit:
                path = ("drill", "checks", number, *where)
                yield document.finding(
                    path, say("'{name}' is a {kind} source: {misfit}", name=name, kind=source.kind, misfit=misfit)
                )


def _unproven(document: Document, policy: Policy) -> Iterator[Finding]:
    """Warnings: what a policy may do, but a person should know of."""
    if policy.drill is None:
        yield document.finding(
            ("system",),
            say("'{system}' has no drill: nobody will learn whether its copies are good", system=policy.system),
            "add a drill: section with at least one check",
            severity="warning",
        )
    checked = {name for check in (policy.drill.checks if policy.drill else ()) for _, name in check.form.named}
    for number, source in enumerate(policy.sources):
        if policy.drill is not None and source.name not in checked:
            yield document.finding(
                ("sources", number, "name"),
                say("no check of the drill looks at '{source}'", source=source.name),
                "a copy nobody looks at is not proven: add a check",
                severity="warning",
            )
        for message, hint in source.settings.doubts(source.name):
            yield document.finding(("sources", number, source.kind), message, hint, severity="warning")


def _cycles(files: Sequence[PolicyFile]) -> Iterator[Finding]:
    by_system = {file.system: file for file in reversed(files) if file.policy is not None}
    graph: Mapping[str, Collection[str]] = {
        name: [other for other in hard_dependencies(file.policy) if other != name]
        for name, file in by_system.items()
        if file.policy is not None
    }
    for cycle in find_cycles(graph):
        file = by_system[cycle[-2]]
        policy = file.policy
        edges = policy.depends_on if policy else ()
        number = next((at for at, edge in enumerate(edges) if edge.system == cycle[-1] and not edge.degraded), 0)
        yield file.document.finding(
            ("depends_on", number, "system"),
            say("systems wait for each other: {cycle}", cycle=" → ".join(cycle)),
            "mark the edge the system can start without: {system: NAME, degraded: true}",
        )


def _jumps(file: InventoryFile) -> Iterator[Finding]:
    values: Any = file.document.values
    agents = values.get("agents") if isinstance(values, dict) else None
    if not isinstance(agents, dict):
        return
    jumps = {name: entry["jump"] for name, entry in agents.items() if isinstance(entry, dict) and entry.get("jump")}
    for name, jump in jumps.items():
        path = ("agents", name, "jump")
        if not isinstance(jump, str):
            continue
        other = agents.get(jump)
        if jump not in agents:
            yield file.document.finding(
                path, say("no agent '{jump}' to jump through", jump=jump), nearest(jump, set(agents) - {name})
            )
        elif isinstance(other, dict) and other.get("transport") != "ssh":
            yield file.document.finding(
                path, say("'{jump}' is not an ssh agent, so nothing can jump through it", jump=jump)
            )
    for cycle in find_cycles({name: [jump] for name, jump in jumps.items() if isinstance(jump, str)}):
        path = ("agents", cycle[-2], "jump")
        yield file.document.finding(path, say("jump hosts lead in a circle: {cycle}", cycle=" → ".join(cycle)))
