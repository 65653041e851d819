"""A department's server as it is in earnest: a deployed agent behind a key that can run nothing else, a database, a
bucket with object lock that the agent sends to itself, a second copy, a drill, and a restore beside the living data."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from drbackup.stores.s3.store import S3Store
from tests.e2e.mishap import complaint
from tests.e2e.test_restore_and_drill import contents
from tests.support.cities.site import Site
from tests.support.services.faulty_proxy import FaultyProxy
from tests.support.services.postgres import SUPERUSER, Database
from tests.support.services.seaweedfs import S3Server
from tests.support.services.sshd import Sshd, make_key

pytestmark = [pytest.mark.sshd, pytest.mark.s3, pytest.mark.postgres, pytest.mark.slow]
ROWS = "select id, name from enterprise order by id"
CHECKS = [
    {"source": "register", "sql": "select count(*) from enterprise", "expect": {"equals": 500}},
    {"source": "register", "counts": "match"},
    {"source": "scans", "files": "match"},
    {"across": ["register", "scans"], "sql": "select path from attachment", "each": "exists_in_files"},
]


@dataclass(frozen=True)
class Department:
    """The backup centre's installation and the three things it does not own: server, database, bucket."""

    site: Site
    sshd: Sshd
    database: Database
    s3: S3Server
    door: FaultyProxy  # in front of the bucket; it only watches
    bucket: str
    prefix: str

    @property
    def agent_folder(self) -> Path:
        return self.site.folder / "opt" / "drbackup-agent"

    @property
    def administrator(self) -> Path:
        return self.site.folder / "administrator"

    def build(self) -> None:
        """Data, the administrator's key and the restricted one, policies; the agent is not there yet."""
        self.site.fill()
        scan = f"{self.site.scans}/sub/章程.txt"
        self.database.sql(
            "create table enterprise (id int primary key, name text not null)",
            "insert into enterprise select n, '企业' || n from generate_series(1, 500) n",
            "create table attachment (id int primary key, path text not null)",
            f"insert into attachment values (1, '{scan}')",
        )
        state = self.site.folder / "state"
        forced = f'restrict,command="{self.agent_folder}/current/drbackup-agent forced --state {state}"'
        controller = self.sshd.user_key.with_suffix(".pub").read_text().strip()
        self.sshd.allow(make_key(self.administrator), f"{forced} {controller}")
        self._write()

    def _write(self) -> None:
        postgres = {
            "database": self.database.name,
            "host": str(self.database.server.folder),
            "user": SUPERUSER,
            "tools": str(self.database.server.binaries),
        }
        scans = {"name": "scans", "agent": "db1", "files": {"paths": [str(self.site.scans)]}}
        self.site.write(
            sources=[{"name": "register", "agent": "db1", "postgres": postgres}, scans],
            copies=["cloud", "second"],
            drill={"every": "month", "on": "drill1", "checks": CHECKS},
        )
        path = self.site.policies / "inventory.yaml"
        inventory = yaml.safe_load(path.read_text(encoding="utf-8"))
        address = self.sshd.address()
        inventory["agents"]["db1"] = {
            "transport": "ssh",
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "host_keys": list(address.host_keys),
            "key_file": address.key_file,
            "install_folder": str(self.agent_folder),
        }
        bucket = {
            "bucket": self.bucket,
            "endpoint": self.door.endpoint,
            "credentials_file": str(self.s3.credentials_file()),
            "lock_days": 7,
        }
        inventory["stores"] = {
            "cloud": {"s3": bucket, "prefix": self.prefix},
            "second": {"directory": {"path": str(self.site.folder / "second")}},
        }
        path.write_text(yaml.safe_dump(inventory, allow_unicode=True), encoding="utf-8")

    def uploads(self, how: str) -> list[str]:
        """Addresses of packs that were put into the bucket, by a ``signed`` URL or by the ``owner``."""
        packs = [path for method, path in self.door.asked if method == "PUT" and "/v1/d/" in path]
        return [path for path in packs if ("X-Amz-Signature=" in path) == (how == "signed")]


@pytest.fixture
def department(
    tmp_path: Path,
    sshd: Sshd,
    database: Database,
    s3_server: S3Server,
    make_proxy: Callable[[str], FaultyProxy],
) -> Department:
    bucket, prefix = s3_server.shared_bucket(), f"dept-{secrets.token_hex(4)}/"
    made = Department(Site(tmp_path), sshd, database, s3_server, make_proxy(s3_server.endpoint), bucket, prefix)
    made.build()
    return made


def test_a_departments_server_from_deploying_the_agent_to_a_restored_database(department: Department) -> None:
    site, database = department.site, department.database
    site.found()

    # Before the agent is there: said so, with the command that helps.
    assert "agents deploy" in complaint(site.run("backup", "registry/register"), 1).next
    login = ("--as", department.sshd.address().user, "--key", str(department.administrator))
    site.good("agents", "deploy", "db1", *login)
    assert site.good("agents", "check", "db1", "--json").document["ok"]

    backups = site.good("backup", "--all", "--json").document["backups"]
    assert [each["point"]["copies"] for each in backups] == [["cloud", "second"]] * 2
    assert department.uploads("signed")
    assert not department.uploads("owner")  # no pack went through the backup centre
    locked_and_whole(department)

    rows, scans = database.sql(ROWS), contents(site.scans)
    database.sql("delete from enterprise where id > 100")
    shutil.rmtree(site.scans)

    (drill,) = site.good("drill", "run", "registry", "--json").document["drills"]
    assert drill["verdict"] == "passed"
    assert [check["passed"] for check in drill["checks"]] == [True] * 4

    other = database.other()
    site.good("restore", "registry/register", "--database", other, "--apply")
    assert database.server.psql(other, ROWS) == rows
    assert database.sql("select count(*) from enterprise") == "100"  # the living one is not touched
    site.good("restore", "registry/scans", "--in-place", "--apply")
    assert contents(site.scans) == scans
    site.good("evidence", "verify")


def locked_and_whole(department: Department) -> None:
    """Every pack is locked in the bucket, and both copies read back as they were sent."""
    client = S3Store("look", department.s3.config(department.bucket)).client
    listed = client.list_objects_v2(Bucket=department.bucket, Prefix=f"{department.prefix}v1/d/")["Contents"]
    packs = [each["Key"] for each in listed]
    assert len(packs) == len({path.split("?")[0].rpartition("/")[2] for path in department.uploads("signed")})
    for key in packs:
        assert client.head_object(Bucket=department.bucket, Key=key)["ObjectLockMode"] == "COMPLIANCE"
    scrubbed = department.site.good("vault", "scrub", "--json").document["stores"]
    assert [len(each["proven"]) for each in scrubbed] == [2, 2]
