"""A PostgreSQL server for one drill: its own data folder, a private socket, no TCP, and no network where possible.

A restored dump runs as the instance's superuser and may come from a compromised server. So the instance can do little:

- when the agent is root, it runs as an account that owns nothing else;
- it can't gain privileges;
- where the kernel allows it, its network namespace has no interface, as :attr:`PrivatePostgres.isolation` says;
- it ends when the agent ends.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import msgspec

from drbackup.errors import ToolFailed, ToolMissing, say
from drbackup_agent.sources.base import DrillSandbox
from drbackup_agent.sources.postgres.tools import TOOL_FOLDERS

SUPERUSER = "drbackup_drill"  # not "postgres": the dump's own roles must find their names free
ACCOUNTS = ("drbackup-sandbox", "nobody", "postgres")  # the first that exists runs the instance
START_SECONDS = 60.0
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "dynamic_shared_memory_type": "mmap",  # inside the data folder, so that the wipe takes it too
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "max_connections": "40",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
    "autovacuum": "off",
    "jit": "off",
    "logging_collector": "off",
    "log_min_messages": "fatal",  # statements with data must not reach a log
    "log_min_error_statement": "panic",
}


class Account(msgspec.Struct, frozen=True):
    """The account that runs the instance."""

    name: str = ""  # empty: this process's own account
    uid: int = -1
    gid: int = -1


class PrivatePostgres(msgspec.Struct, frozen=True):
    """A running instance. Clients connect as :data:`SUPERUSER` without a password."""

    tools: Path  # folder of its programs
    version: str
    socket: Path  # folder of its Unix socket
    port: int
    account: str  # name of the account that runs it
    isolation: str  # what the server can reach of the network, for the evidence
    place: str  # folder in which the instance's own folder is

    @property
    def no_passwords(self) -> Path:
        """The path of a password file that does not exist, so that no person's own is used."""
        return self.socket / "none.pgpass"


def find_server() -> Path:
    """The folder with ``initdb`` of the newest PostgreSQL on this host. Raises :class:`ToolMissing`."""
    found = {path for pattern in TOOL_FOLDERS for path in Path("/").glob(pattern) if (path / "initdb").exists()}
    if found:
        return max(found, key=_major)
    if (initdb := shutil.which("initdb")) is not None:
        return Path(initdb).resolve().parent
    raise ToolMissing("there is no PostgreSQL server here to restore into", hint="install postgresql on the drill host")


def start_postgres(sandbox: DrillSandbox, name: str) -> PrivatePostgres:
    """A new instance that is ready and stops with the sandbox. ``name``: of its folder and its log.

    Raises :class:`ToolMissing`, or :class:`ToolFailed` with the tool's last lines, also after 60 s without an answer.
    """
    tools = find_server()
    account = _account()
    place = _place_for(sandbox, account, name)
    # A Unix socket's path holds 107 bytes at most, so it can't lie deep inside a state folder.
    socket = sandbox.outside(Path("/tmp"), _owner(account))
    isolate = _isolation()
    data = place / "data"
    _run([*isolate, *_as_account(account), str(tools / "initdb"), "-D", str(data), "-U", SUPERUSER, *_INITDB], place)
    settings = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
    argv = [*isolate, *_as_account(account), str(tools / "postgres"), "-D", str(data), "-k", str(socket), *settings]
    log = sandbox.folder / f"{name}.log"
    with log.open("wb") as sink:
        server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=place)
    sandbox.stops.append(lambda: _stop(server))
    _await_ready(server, tools, socket, log)
    return PrivatePostgres(
        tools=tools,
        version=_version(tools),
        socket=socket,
        port=5432,
        account=account.name or pwd.getpwuid(os.getuid()).pw_name,
        isolation=_isolation_seen(server.pid),
        place=str(place.parent),
    )


_INITDB = ("-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")


def client_environment(
    instance: PrivatePostgres, *, read_only: bool = False, timeout_seconds: int = 0
) -> dict[str, str]:
    """The environment of client programs: it names the instance, and none of the host's own PG* settings.

    ``timeout_seconds`` bounds each statement; 0: no limit.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    options = ["-c synchronize_seqscans=off"]
    if read_only:
        options.append("-c default_transaction_read_only=on")
    if timeout_seconds:
        options.append(f"-c statement_timeout={timeout_seconds}s")
    return {
        **kept,
        "PATH": f"{instance.tools}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "PGHOST": str(instance.socket),
        "PGPORT": str(instance.port),
        "PGUSER": SUPERUSER,
        "PGOPTIONS": " ".join(options),
        "PGCLIENTENCODING": "UTF8",
        "PGPASSFILE": str(instance.no_passwords),
        "PGSYSCONFDIR": str(instance.socket),
    }


# --- accounts and isolation --------------------------------------------------------------------------------------


def _account() -> Account:
    """The account to run the instance. PostgreSQL refuses to run as root: then it is one that owns nothing."""
    if os.geteuid() != 0:
        return Account()
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise ToolMissing(
        say("none of the accounts {accounts} exists to run a throw-away database", accounts=", ".join(ACCOUNTS))
    )


def _owner(account: Account) -> tuple[int, int] | None:
    return (account.uid, account.gid) if account.name else None


def _place_for(sandbox: DrillSandbox, account: Account, name: str) -> Path:
    """A folder for the data, in the sandbox.

    Another account may not enter the sandbox: for it the folder is beside the sandbox or in ``/var/tmp``.
    """
    if not account.name:
        return sandbox.folder_for(f"{name}.postgres")
    parent = sandbox.folder.parent
    passable = all(each.stat().st_mode & 0o001 for each in (parent, *parent.parents))
    return sandbox.outside(parent if passable else Path("/var/tmp"), _owner(account))


def _as_account(account: Account) -> list[str]:
    # SIGQUIT is PostgreSQL's immediate shutdown: when the agent dies, even by kill -9, the instance follows.
    argv = ["setpriv", "--pdeathsig", "QUIT", "--no-new-privs"]
    if account.name:
        argv += [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "--inh-caps=-all"]
        argv += ["--bounding-set=-all"]
    return [*argv, "--"]


def _isolation() -> list[str]:
    """The words before an argv that start it without a network; none where the kernel or the host forbids it."""
    unshare = (
        ["unshare", "--net", "--"] if os.geteuid() == 0 else ["unshare", "--user", "--map-current-user", "--net", "--"]
    )
    try:
        tried = subprocess.run([*unshare, "true"], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return unshare if tried.returncode == 0 else []


def _isolation_seen(pid: int) -> str:
    """The network that the running server really has. It is read from /proc: psutil shows only our own namespace."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    names = sorted(line.partition(":")[0].strip() for line in lines)
    outward = [name for name in names if name != "lo"]
    if not outward:
        return "no network: its namespace has no interface but lo"
    return f"no TCP port; the host's interfaces are reachable from inside: {', '.join(outward)}"


# --- running -------------------------------------------------------------------------------------------------------


def _run(argv: list[str], cwd: Path) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=cwd)
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).splitlines()[-8:])
        raise ToolFailed(
            say(
                "{argv} ended with {returncode}: {said}",
                argv=Path(_program(argv)).name,
                returncode=done.returncode,
                said=tail,
            )
        )


def _program(argv: list[str]) -> str:
    return next((word for word in argv if word.endswith(("initdb", "postgres"))), argv[0])


def _await_ready(server: subprocess.Popen[bytes], tools: Path, socket: Path, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    probe = [str(tools / "pg_isready"), "-q", "-h", str(socket), "-p", "5432", "-U", SUPERUSER]
    while subprocess.run(probe, timeout=10).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            raise ToolFailed(say("the throw-away PostgreSQL did not start: {said}", said=tail))
        time.sleep(0.05)  # polling, with the deadline above


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Sends the signal for immediate shutdown; a server that still runs after 10 s is killed."""
    if server.poll() is None:
        server.send_signal(signal.SIGQUIT)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)


def _version(tools: Path) -> str:
    done = subprocess.run([str(tools / "postgres"), "--version"], capture_output=True, text=True, timeout=10)
    found = re.search(r"\d+(\.\d+)*", done.stdout)
    return found.group() if found else done.stdout.strip()


def _major(folder: Path) -> int:
    found = re.search(r"(\d+)", str(folder))
    return int(found.group(1)) if found else 0
