"""A department's server in an enemy's hands, with a real agent, a real controller and a real S3 server.

The enemy has everything that an agent ever holds: its state folder, every byte that crossed the wire in both
directions, the signed addresses and the domain's keys. With that they try to read an old backup, to overwrite one and
to delete one.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest
import urllib3

from drbackup.controller.catalog import Catalog
from drbackup.controller.home.installation import Installation
from drbackup.controller.runs.agent_requests import BackupRequests, Listeners, UploadTarget
from drbackup.errors import ProtocolViolation, WrongKey
from drbackup.fleet.answers import Answerer
from drbackup.reader.stranger import derive as independently_derive
from drbackup.reader.stranger import unpack
from drbackup.stores.s3.store import S3Store
from drbackup.vault.keys import Keyring, SealKey
from drbackup.vault.pack import PackOpener
from drbackup.vault.suite import derive
from drbackup.wire.messages import Fetch, Locate, PutHttp, Start, Stored, Upload, Uploaded
from tests.adversary.wire_record import WireRecord
from tests.support.cities.small_city import AGENT, SOURCE, SYSTEM, SmallCity
from tests.support.runs import run_backup
from tests.support.services.seaweedfs import S3Server, newest_bytes, versions_of

pytestmark = pytest.mark.s3
TRUE = {b"a": b"alpha" * 1000, b"b": b"beta" * 2000}


@dataclass
class Stolen:
    """What was stolen, and the city it was stolen from. ``old``: the objects of the backup that is in danger."""

    city: SmallCity
    installation: Installation
    store: S3Store
    record: WireRecord
    point: str
    old: dict[str, bytes]
    secret_key: str

    @property
    def held(self) -> bytes:
        """Everything an agent ever holds, in one piece."""
        state = self.city.root / "agent"
        files = b"".join(path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file())
        return bytes(self.record.to_agent) + bytes(self.record.from_agent) + files

    @property
    def puts(self) -> list[PutHttp]:
        return self.record.told(PutHttp)

    def require_untouched(self) -> None:
        """Every object of the old backup as it was, in one version, and the point restores."""
        for name, data in self.old.items():
            assert self.store.get(name) == data
            assert len(versions_of(self.store, name)) == 1, name
            assert hashlib.sha256(newest_bytes(self.store, name)).digest() == hashlib.sha256(data).digest()
        assert set(self.old) == {stat.name for stat in self.store.list("v1/")}


@pytest.fixture(scope="module")
def stolen(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Stolen]:
    bucket = s3_server.make_bucket()
    place = f"bucket: {bucket}, endpoint: '{s3_server.endpoint}', credentials_file: {s3_server.credentials_file()}"
    stores = f"  cloud: {{s3: {{{place}}}, prefix: city/}}\n"
    root = tmp_path_factory.mktemp("stolen")
    city = SmallCity(root, copies="cloud", module="drbackup_agent", stores=stores).build()
    record = WireRecord()
    with city.open() as installation:
        point = run_backup(installation, SYSTEM, SOURCE, connect=record.connect)
        (city.data / "c").write_bytes(b"gamma" * 3000)
        run_backup(installation, SYSTEM, SOURCE, connect=record.connect)
        store = installation.store("cloud")
        assert isinstance(store, S3Store)
        old = {stat.name: store.get(stat.name) for stat in store.list("v1/")}
        yield Stolen(city, installation, store, record, point.id, old, s3_server.credentials.secret_key)


def test_the_record_is_a_record(stolen: Stolen) -> None:
    """What follows proves nothing unless the session really went over the recorded wire and by signed uploads."""
    assert len(stolen.record.told(Start)) == 2
    assert len(stolen.puts) >= 6
    assert len(stolen.record.said(Uploaded)) == len(stolen.puts)
    assert {urlsplit(put.url).path.split("/")[-1] for put in stolen.puts} == {
        name[-64:] for name in stolen.old if name.startswith("v1/d/")
    }


# --- to read -------------------------------------------------------------------------------------------------------


def test_no_secret_of_the_backup_centre_is_among_what_an_agent_holds(stolen: Stolen) -> None:
    held = stolen.held
    assert stolen.secret_key.encode() not in held
    seeds = [path for path in (stolen.city.home / "keys").iterdir() if path.suffix == ".key"]
    assert {path.stem for path in seeds} >= {"catalog", "evidence", "domains", "drill"}
    for path in seeds:
        seed = bytes.fromhex(path.read_text())
        assert seed not in held
        assert seed.hex().encode() not in held


def test_no_32_bytes_that_an_agent_holds_open_an_old_pack(stolen: Stolen) -> None:
    """As the data key, as the pack's key and commitment, and as derived by each label."""
    packs = [data for name, data in stolen.old.items() if name.startswith("v1/d/")]
    heads = []
    for data in packs:
        size = int.from_bytes(data[8:12], "big")
        _, _, kind, salt, commitment, _ = unpack(data[12 : 12 + size])
        heads.append((salt, f"{kind}/{AGENT}".encode(), commitment))
    held = stolen.held
    assert len(held) < 400_000
    assert all(commitment not in held for _, _, commitment in heads)
    candidates = {held[at : at + 32] for at in range(len(held) - 31)}
    for salt, context, commitment in heads:
        for candidate in candidates:
            assert independently_derive(candidate, "pack", 64, salt, context)[32:] != commitment
    keys = stolen.record.told(Start)[0].job.keys  # type: ignore[union-attr]
    likely = [keys.chunk_id_key.value, keys.cut_key.value]
    likely += [
        derive(each, label) for each in likely for label in ("tree-chunk-id", "index-id", "chunk-id", "cut", "pack")
    ]
    for secret in likely:
        for salt, context, commitment in heads:
            assert independently_derive(secret, "pack", 64, salt, context)[32:] != commitment


def test_no_domain_key_is_a_private_key(stolen: Stolen) -> None:
    keys = stolen.record.told(Start)[0].job.keys  # type: ignore[union-attr]
    ring = Keyring(
        SealKey.from_seed(role, seed.value)
        for role in ("recovery", "drill", "catalog")
        for seed in (keys.chunk_id_key, keys.cut_key)
    )
    for name, data in stolen.old.items():
        if name.startswith("v1/d/"):
            with pytest.raises(WrongKey):
                PackOpener(data, AGENT, ring, name)


def test_an_upload_address_reads_nothing(stolen: Stolen) -> None:
    for put in stolen.puts:
        for method in ("GET", "HEAD"):
            for url in (put.url, bare(put.url), put.url + "&versionId=null", put.url + "&attributes", put.url + "&acl"):
                answer = ask(method, url)
                assert answer.status in {400, 403}, f"{method} {url}: {answer.status}"
    for url in (bucket_of(stolen.puts[0].url), bucket_of(stolen.puts[0].url) + "?list-type=2&prefix=city/"):
        assert ask("GET", url).status == 403
        assert ask("GET", url + ("&" if "?" in url else "?") + urlsplit(stolen.puts[0].url).query).status in {400, 403}


def test_a_session_of_a_writer_reads_nothing(stolen: Stolen, tmp_path: Path) -> None:
    """By the protocol, with the handler that the enemy's agent would talk to."""
    answerer = enemy_session(stolen, stolen.installation.catalog)
    for name in stolen.old:
        if name.startswith("v1/d/"):
            kind, digest = name.split("/")[-2:]
            with pytest.raises(ProtocolViolation):
                answerer.answer(Fetch(1, kind, AGENT, bytes.fromhex(digest), 0, 100), b"")
    answer, body = answerer.answer(Locate(2, bytes(32) + b"\x01" * 32), b"")
    assert not body
    assert answer.places == ()  # type: ignore[union-attr]


# --- to overwrite and delete ---------------------------------------------------------------------------------------


def test_an_upload_address_is_good_for_its_own_bytes_only(stolen: Stolen) -> None:
    for put in stolen.puts:
        size = int(put.headers["Content-Length"])
        lies = [
            (put.url, put.headers, b"x" * size),
            (put.url, put.headers, b"x" * (size - 1)),
            (put.url, put.headers, b"x" * (size + 1)),
            (put.url, put.headers, b""),
            (put.url, without(put.headers, "If-None-Match"), b"x" * size),
            (put.url, without(put.headers, "x-amz-checksum-sha256"), b"x" * size),
            (put.url, {**put.headers, "If-None-Match": "other"}, b"x" * size),
            (put.url, {**put.headers, "x-amz-checksum-sha256": checksum(b"x" * size)}, b"x" * size),
            (put.url, {}, b"x" * size),
        ]
        for url, headers, data in lies:
            answer = ask("PUT", url, headers, data)
            assert answer.status in {400, 403, 412}, f"{headers}: {answer.status} {answer.data!r}"
    stolen.require_untouched()


def test_an_upload_address_used_after_the_fact_changes_nothing(stolen: Stolen) -> None:
    for put in stolen.puts:
        data = next(data for name, data in stolen.old.items() if name.endswith(urlsplit(put.url).path[-64:]))
        answer = ask("PUT", put.url, put.headers, data)
        assert answer.status == 412
    stolen.require_untouched()


def test_an_upload_address_is_good_for_no_other_name(stolen: Stolen) -> None:
    put = stolen.puts[0]
    own = urlsplit(put.url).path
    data = next(data for name, data in stolen.old.items() if own.endswith(name[-64:]))
    prefix = own.split("/v1/")[0]
    for name in [*stolen.old, "v1/r/registry/new", f"v1/d/{AGENT}/p/" + "0" * 64, "v1/d/other/p/" + own[-64:]]:
        path = f"{prefix}/{name}"
        if path == own:
            continue
        answer = ask("PUT", at(put.url, path), put.headers, data)
        assert answer.status in {400, 403}, f"{path}: {answer.status}"
    for path in (own + "/../x", own + "%2f..%2fx", own.replace("/p/", "//p/").replace("/t/", "//t/"), own.upper()):
        assert ask("PUT", at(put.url, path), put.headers, data).status in {400, 403, 404}, path
    stolen.require_untouched()


def test_an_upload_address_deletes_unlocks_and_renames_nothing(stolen: Stolen) -> None:
    for put in stolen.puts:
        url = put.url
        attempts = [
            ("DELETE", url), ("DELETE", bare(url)), ("DELETE", url + "&versionId=null"), ("POST", url + "&delete"),
            ("POST", bucket_of(url) + "?delete"), ("PUT", url + "&retention"), ("PUT", url + "&legal-hold"),
            ("PUT", url + "&acl"), ("PUT", url + "&tagging"), ("POST", url + "&uploads"),
            ("PUT", bucket_of(url) + "?policy"),
            ("PUT", bucket_of(url) + "?lifecycle"), ("DELETE", bucket_of(url)),
            ("POST", url + "&restore"),
        ]  # fmt: skip
        for method, where in attempts:
            answer = ask(method, where, put.headers if method == "PUT" else {}, b"" if method != "PUT" else b"x")
            assert answer.status in {400, 403, 405, 501}, f"{method} {where}: {answer.status} {answer.data!r}"
        copying = {**put.headers, "x-amz-copy-source": urlsplit(stolen.puts[-1].url).path}
        assert ask("PUT", url, copying, b"").status in {400, 403, 411, 412}
    stolen.require_untouched()


def test_an_enemys_own_session_gets_no_address_for_anything_that_is_there(stolen: Stolen, tmp_path: Path) -> None:
    """Neither with the real catalog nor with one that was lost: then the address is good for the same bytes only."""
    for catalog in (stolen.installation.catalog, Catalog.open(tmp_path / "empty.sqlite")):
        answerer = enemy_session(stolen, catalog)
        for number, (name, data) in enumerate(stolen.old.items()):
            kind, digest = name.split("/")[-2:]
            if not name.startswith("v1/d/"):
                for forged in ("r", "e", "c", "vault", "../r", "", "p/../../r/registry"):
                    with pytest.raises(ProtocolViolation):
                        answerer.answer(Upload(number, forged, bytes(32), len(data)), b"")
                continue
            for size in (len(data), len(data) + 1, 1):
                answer, _ = answerer.answer(Upload(number, kind, bytes.fromhex(digest), size), b"")
                if isinstance(answer, PutHttp):
                    status = ask("PUT", answer.url, answer.headers, b"x" * size).status
                    assert status in {400, 403, 412}
                else:
                    assert isinstance(answer, Stored)
    stolen.require_untouched()


def test_after_all_of_it_the_old_point_restores(stolen: Stolen) -> None:
    found = stolen.city.read(stolen.point, "cloud")
    assert sorted(found.values()) == sorted(TRUE.values())


# --- an enemy's tools ----------------------------------------------------------------------------------------------


def ask(method: str, url: str, headers: dict[str, str] | None = None, body: bytes = b"") -> urllib3.BaseHTTPResponse:
    """One request, with the length that it has: the server would wait for the rest of a longer one."""
    said = {**(headers or {}), "Content-Length": str(len(body))}
    return urllib3.request(method, url, headers=said, body=body or None, retries=False, redirect=False, timeout=20.0)


def bare(url: str) -> str:
    """Without its signature."""
    return urlunsplit(urlsplit(url)._replace(query=""))


def at(url: str, path: str) -> str:
    """The same signature for another name."""
    return urlunsplit(urlsplit(url)._replace(path=path))


def bucket_of(url: str) -> str:
    parts = urlsplit(url)
    assert parse_qs(parts.query)["X-Amz-Signature"]
    return urlunsplit(parts._replace(path="/" + parts.path.split("/")[1], query=""))


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def checksum(data: bytes) -> str:
    return b64encode(hashlib.sha256(data).digest()).decode()


def enemy_session(stolen: Stolen, catalog: Catalog) -> Answerer:
    site = UploadTarget(catalog, stolen.store, AGENT, "enemy", lambda: datetime.now(UTC))
    return Answerer(BackupRequests(site, Listeners()))
