"""The policies and the inventory of the demo city, written as an administrator would write them.

Owns only the text of six policy files and ``inventory.yaml``. ``drbackup policy check`` checks what they mean.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from drbackup.cli.demo_city.city import BASE, DEPARTMENTS, City, Department

STORE = "offsite"
DRILL_HOST = "drill1"
NETWORK_AGENT = "net1.xinxi"

Document = dict[str, object]


def write(city: City, folder: Path, state: Path, store: Path) -> None:
    """The six policies and ``inventory.yaml``, as new files in ``folder``. Raises :class:`OSError`.

    ``state``: the parent of the agents' state folders; ``store``: the store's folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "inventory.yaml", "The city's servers and stores.", _inventory(state, store))
    _write(folder / "gov-network.yaml", "What everything else stands on.", _network(city))
    for one in DEPARTMENTS:
        _write(folder / f"{one.system}.yaml", f"{one.title}.", _policy(city, one))


def _write(path: Path, comment: str, document: Document) -> None:
    text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=110)
    path.write_text(f"# {comment}\n{text}", encoding="utf-8")


def _inventory(state: Path, store: Path) -> Document:
    agents: dict[str, Document] = {}
    for name, department in (
        *((one.agent, one.department) for one in DEPARTMENTS),
        (NETWORK_AGENT, "information-centre"),
        (DRILL_HOST, "backup-centre"),
    ):
        agents[name] = {
            "transport": "local",
            "department": department,
            "state_folder": str(state / name),
        }
    agents[DRILL_HOST]["sandbox"] = str(state / DRILL_HOST / "sandbox")
    return {
        "title": "临江市容灾备份中心 (demo)",
        "time_zone": "Asia/Shanghai",
        "agents": agents,
        "stores": {STORE: {"directory": {"path": str(store)}}},
    }


def _policy(city: City, one: Department) -> Document:
    sources: list[Document] = [{"name": one.source, "agent": one.agent, **city.servers[one.system].source()}]
    checks: list[Document] = [
        {"source": one.source, "counts": "match"},
        {"source": one.source, "sql": f"select count(*) from {_main_table(one)}", "expect": {"min": 1000}},
    ]
    if one is BASE:
        sources.append({"name": "scans", "agent": one.agent, "files": {"paths": [str(city.scans)]}})
        checks.append({"source": "scans", "files": "match"})
        prefix = f"{city.scans}/"
        across = f"select '{prefix}' || path from attachment"
        checks.append({"across": [one.source, "scans"], "sql": across, "each": "exists_in_files"})
        depends: list[object] = [other.system for other in DEPARTMENTS if other is not BASE]
        objectives = {"rpo": "1h", "rto": "8h"}
    else:
        depends = ["gov-network"]
        objectives = {"rpo": "1h", "rto": "4h"}
    return {
        "system": one.system,
        "title": one.title,
        "department": one.department,
        "level": 4,
        "objectives": objectives,
        "depends_on": depends,
        "sources": sources,
        **_rest(checks),
    }


def _network(city: City) -> Document:
    return {
        "system": "gov-network",
        "title": "政务网络",
        "department": "information-centre",
        "level": 4,
        "objectives": {"rpo": "1h", "rto": "2h"},
        "sources": [{"name": "settings", "agent": NETWORK_AGENT, "files": {"paths": [str(city.network)]}}],
        **_rest([{"source": "settings", "files": "match"}]),
    }


def _rest(checks: list[Document]) -> Document:
    return {
        "schedule": {"every": "30m", "time_zone": "Asia/Shanghai", "catch_up": "once", "spread": True},
        "keep": {"hourly": 24, "daily": 30, "weekly": 8, "monthly": 24, "yearly": 10, "at_least_drilled": 2},
        "copies": [STORE],
        "drill": {"every": "month", "on": DRILL_HOST, "checks": checks},
    }


def _main_table(one: Department) -> str:
    tables = {
        "business-registration": "registration",
        "state-tax": "state_taxpayer",
        "local-tax": "local_taxpayer",
        "quality-supervision": "org_code",
        "enterprise-base": "enterprise",
    }
    return tables[one.system]
