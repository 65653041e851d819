"""A city of two servers, three sources and two stores, as durable state: what is left when every process is killed.

``registry`` and ``scans`` lie on one server and share a domain, so each relies on the other's chunks; ``citizen`` has a
domain of its own and a second copy. Keys and policies are the same for every schedule and made once.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drbackup.controller.catalog import Catalog
from drbackup.controller.home.installation import Installation
from drbackup.controller.home.policies import PolicySet
from drbackup.model.inventory import Inventory
from drbackup.model.levels import LevelTable
from drbackup.model.policy import Defaults, Policy
from drbackup.vault.description import VaultDescription
from drbackup.vault.keys import CATALOG, DRILL, ROLES, Keyring, SealKey, SigningKey, domain_keys
from drbackup.wire.specs import DomainKeys
from tests.simulation.store import SimStore

MAIN, OTHER = "main", "other"
HALL, BUREAU = "db1.hall", "db1.bureau"
#: (system, source) → the server it lies on
SOURCES = {("registry", "registry"): HALL, ("scans", "scans"): HALL, ("citizen", "citizen"): BUREAU}
KEEP = {"daily": 2, "weekly": 1, "at_least_drilled": 1}


@dataclass(frozen=True)
class Keys:
    """Every key of the city."""

    ring: dict[str, SealKey]
    signer: SigningKey
    vault: VaultDescription


@functools.cache
def keys() -> Keys:
    """Fixed: no schedule depends on them."""
    ring = {role: SealKey.from_seed(role, bytes([number + 1]) * 32) for number, role in enumerate(ROLES)}
    signer = SigningKey.from_seed(b"\x09" * 32)
    recipients = tuple(key.recipient for key in ring.values())
    return Keys(ring, signer, VaultDescription("simulated", 1, recipients, signer.public))


@functools.cache
def policies(lock_days: int = 0) -> PolicySet:
    """The city's policy files, as read; ``lock_days`` is both stores'."""
    s3 = {"bucket": "offsite", "lock_days": lock_days}
    inventory = Inventory.model_validate(
        {
            "title": "Simulated",
            "time_zone": "UTC",
            "agents": {HALL: _agent(), BUREAU: _agent()},
            "stores": {MAIN: {"s3": s3}, OTHER: {"s3": s3}},
        }
    )
    systems = {}
    for (system, source), agent in SOURCES.items():
        copies = [MAIN, OTHER] if agent == BUREAU else [MAIN]
        systems[system] = Policy.model_validate(_policy(system, source, agent, copies), context=Defaults({}, "UTC"))
    return PolicySet(Path("/nonexistent"), systems, inventory, LevelTable.model_construct(), (), "")


def _agent() -> dict[str, object]:
    return {"transport": "local"}


def _policy(system: str, source: str, agent: str, copies: list[str]) -> dict[str, Any]:
    files = {"name": source, "agent": agent, "canary": False, "max_shrink": 1.0, "files": {"paths": ["/srv"]}}
    return {
        "system": system,
        "title": system,
        "department": "hall",
        "level": 4,
        "objectives": {"rpo": "1d", "rto": "8h"},
        "sources": [files],
        "schedule": {"every": "1d", "time_zone": "UTC"},
        "keep": KEEP,
        "copies": copies,
    }


class SimInstallation(Installation):
    """The real one, with its stores and keys given instead of opened from a disk."""

    def __init__(self, catalog: Catalog, stores: dict[str, SimStore]) -> None:
        super().__init__(Path("/nonexistent"), Path("/nonexistent"), policies(stores[MAIN].lock_days), catalog)
        self.sim_stores = stores
        self.__dict__["signer"] = keys().signer
        self.__dict__["keyring"] = Keyring([keys().ring[CATALOG]])

    def store(self, name: str) -> SimStore:
        return self.sim_stores[name]

    def vault(self, name: str) -> VaultDescription:
        return keys().vault

    def drill_key(self) -> SealKey:
        return keys().ring[DRILL]

    def domain_keys(self, domain: str, store: str) -> DomainKeys:
        return _domain_keys(domain)


@functools.cache
def _domain_keys(domain: str) -> DomainKeys:
    return domain_keys(b"\x07" * 32, domain, keys().vault.recipients)
