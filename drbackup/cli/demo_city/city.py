"""The city as a whole: its departments' data, a day's changes to them, the fire, and a comparison afterwards.

Owns the five departments and their data below one folder. It knows nothing of backups.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from drbackup.cli.demo_city import registers, scans
from drbackup.cli.demo_city.registers import RegisterTable, Scan
from drbackup.cli.demo_city.servers import PostgresServer, Server, SqliteServer, make_template

_T = TypeVar("_T")
_SOCKET_LIMIT = 90  # bytes; a Unix socket's path has at most 107, with "/.s.PGSQL.5432.lock"


class Department(msgspec.Struct, frozen=True):
    """One department and its system, with the names that the policies use."""

    system: str
    title: str  # in Chinese, for people
    department: str
    agent: str  # its server's name in the inventory
    source: str  # the name of its database as a source
    database: str  # the database's own name


DEPARTMENTS = (
    Department("business-registration", "工商登记系统", "industry-commerce", "db1.gongshang", "registry", "gongshang"),
    Department("state-tax", "国税征管系统", "state-tax-bureau", "db1.guoshui", "taxpayers", "guoshui"),
    Department("local-tax", "地税征管系统", "local-tax-bureau", "db1.dishui", "taxpayers", "dishui"),
    Department("quality-supervision", "组织机构代码系统", "quality-bureau", "db1.zhijian", "codes", "zhijian"),
    Department("enterprise-base", "企业基础信息库", "information-centre", "db1.jichuku", "library", "jichuku"),
)
BASE = DEPARTMENTS[-1]

Fingerprint = dict[str, dict[str, str]]  # system, "scans" or "network" → table or file → its counts and digests


@dataclass
class City:
    """The city below ``folder``, its servers and files."""

    folder: Path
    tools: Path | None  # the folder of PostgreSQL's programs; None: use SQLite
    enterprises: int = 4000  # rows of the registration
    scanned: int = 160  # scanned files
    servers: dict[str, Server] = field(default_factory=dict)  # by system
    _sockets: Path | None = None  # a temporary folder, where the city's own path is too long for a socket

    @property
    def engine(self) -> str:
        return "sqlite" if self.tools is None else "postgres"

    @property
    def network(self) -> Path:
        """The folder of the government network's configuration files."""
        return self.folder / "network"

    @property
    def scans(self) -> Path:
        """The folder of the enterprise base's scanned files."""
        return self.folder / "scans"

    def build(self) -> None:
        """New servers, registers, scans and network configuration: the city at the beginning of the demo.

        Raises what the methods of :class:`~drbackup.cli.demo_city.servers.Server` raise, as all methods here do.
        """
        self._place_servers()
        self.deliver()
        tables = self._tables()
        self._everywhere(lambda one: self.servers[one.system].load(tables[one.system]))
        _write_network(self.network)

    def deliver(self) -> None:
        """New, empty database servers for every department, all running."""
        self._everywhere(lambda one: self.servers[one.system].deliver())

    def work_a_day(self) -> None:
        """One working day's changes: rows are added, changed and deleted, one scan is deleted and one replaced."""
        servers = self.servers
        servers["business-registration"].execute("update registration set state = '注销' where reg_no like '%7'")
        servers["business-registration"].execute(
            "insert into registration values"
            " ('330199999999999', '临江市新开茶业有限公司', '湖滨区', 5000000, '2026-11-20', '存续')"
        )
        servers["state-tax"].execute("update state_taxpayer set assessed_yuan = assessed_yuan + 1 where class = '一般'")
        servers["local-tax"].execute("delete from local_taxpayer where tax_no like '%9'")
        servers["enterprise-base"].execute("update enterprise set state = '注销' where reg_no like '%7'")
        files = registers.scans(self._registration(), self.scanned)
        (self.scans / files[3].path).unlink()
        servers["enterprise-base"].execute("delete from attachment where id = 3")
        again = Scan(files[5].path, files[5].registration, 6, files[5].seed + 500_000)
        size = scans.write(self.scans, again)
        servers["enterprise-base"].execute(f"update attachment set pages = 6, bytes = {size} where id = 5")

    def burn(self) -> None:
        """The fire: every server, register, scan and configuration file is deleted."""
        self._everywhere(lambda one: self.servers[one.system].burn())
        shutil.rmtree(self.scans)
        shutil.rmtree(self.network)

    def fingerprint(self) -> Fingerprint:
        """Row count and SHA-256 of every table; mode, time and SHA-256 of every file."""
        found = dict(zip([one.system for one in DEPARTMENTS], self._everywhere(self._look), strict=True))
        found["scans"] = scans.fingerprint(self.scans)
        found["network"] = scans.fingerprint(self.network)
        return found

    def tear_down(self) -> None:
        """No server runs any more, and their data is deleted. The city's folder stays."""
        for server in self.servers.values():
            try:
                server.burn()
            except FileNotFoundError:
                continue  # its folder is gone already, or was never made
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _look(self, one: Department) -> dict[str, str]:
        return self.servers[one.system].fingerprint()

    def _everywhere(self, work: Callable[[Department], _T]) -> list[_T]:
        """The results of the same work in all departments, done at the same time, in :data:`DEPARTMENTS`' order."""
        with ThreadPoolExecutor(len(DEPARTMENTS)) as pool:
            return list(pool.map(work, DEPARTMENTS))

    def _place_servers(self) -> None:
        if self.tools is None:
            for one in DEPARTMENTS:
                self.servers[one.system] = SqliteServer(self.folder / "servers" / one.database, one.database)
            return
        root = self.folder / "servers"
        if len(os.fsencode(root)) + 30 > _SOCKET_LIMIT:
            root = self._sockets = Path(tempfile.mkdtemp(prefix="drbackup-"))
        root.mkdir(mode=0o711, exist_ok=True)
        root.chmod(0o711)  # PostgreSQL's account passes through, and reads nothing here
        template = root / "template" / "data"
        make_template(self.tools, template)
        for one in DEPARTMENTS:
            self.servers[one.system] = PostgresServer(self.tools, root / one.database, one.database, template)

    def _registration(self) -> RegisterTable:
        return registers.registration(self.enterprises)

    def _tables(self) -> dict[str, tuple[RegisterTable, ...]]:
        enterprises = self._registration()
        state = registers.taxpayers(enterprises, "state_taxpayer", 0.8)
        local = registers.taxpayers(enterprises, "local_taxpayer", 0.9)
        organisation = registers.codes(enterprises)
        base = registers.enterprise_base(enterprises, state, local, organisation)
        papers = registers.scans(enterprises, self.scanned)
        attached = registers.attachments(papers, [scans.write(self.scans, paper) for paper in papers])
        tables = ((enterprises,), (state,), (local,), (organisation,), (base, attached))
        return {one.system: table for one, table in zip(DEPARTMENTS, tables, strict=True)}


def differences(before: Fingerprint, after: Fingerprint) -> list[str]:
    """Every table and file that differs, one line each with both sides; empty when the city is the same."""
    found: list[str] = []
    for place in sorted(before.keys() | after.keys()):
        was, now = before.get(place, {}), after.get(place, {})
        for thing in sorted(was.keys() | now.keys()):
            if was.get(thing) != now.get(thing):
                found.append(f"{place}: {thing}: was {was.get(thing, 'not there')}, is {now.get(thing, 'not there')}")
    return found


def _write_network(folder: Path) -> None:
    """Small text files of made-up DNS, DHCP and switch configuration, and one symbolic link, below ``folder``."""
    hosts = "\n".join(f"{one.database} IN A 10.0.{n}.10" for n, one in enumerate(DEPARTMENTS, 1))
    texts = {
        "dns/linjiang.gov.zone": f"$ORIGIN linjiang.gov.example.\n$TTL 3600\n{hosts}\n",
        "dhcp/dhcpd.conf": "".join(f"subnet 10.0.{n}.0 netmask 255.255.255.0 {{ }}\n" for n in range(1, 30)),
        "switches/core1.cfg": "".join(f"interface vlan{n}\n ip address 10.0.{n}.1/24\n" for n in range(1, 200)),
        "switches/核心交换机.txt": "机房甲, 第三排, 第七柜\n",
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "switches" / "running.cfg").symlink_to("core1.cfg")
