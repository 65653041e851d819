"""Whether a host can run the agent, judged before anything on it is changed.

The host is asked by a plain POSIX shell script, since it may have no Python at all. Every problem is named at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from drbackup.errors import HostUnsuitable, Said, say, say_all
from drbackup.fleet.bundle import Bundle
from drbackup.fleet.remote import Shell

_OLDEST_PYTHON = (3, 11)
_SPARE_BYTES = 32 << 20

# $1: the install folder, $2: the bundle's interpreter (python3.11). Prints name=value lines, changes nothing.
_QUESTION = r"""
echo "marker=drbackup-preflight"
echo "system=$(uname -s)"
echo "machine=$(uname -m)"
echo "libc=$(getconf GNU_LIBC_VERSION 2>/dev/null)"
echo "python3=$(python3 -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)"
echo "wanted=$("$2" -I -c 'import sys, zipfile, zlib; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)"
d=$1
while [ ! -e "$d" ]; do d=$(dirname "$d"); done
echo "existing=$d"
if [ -d "$d" ]; then echo "folder=yes"; fi
if [ -w "$d" ]; then echo "writable=yes"; fi
echo "free_kib=$(df -Pk "$d" 2>/dev/null | awk 'NR==2 {print $4}')"
echo "account=$(id -un)"
"""


class HostFacts(msgspec.Struct, frozen=True):
    """The facts of a host. An empty text means unknown."""

    system: str  # like Linux
    machine: str  # like x86_64
    libc: str  # like "glibc 2.28"
    python3: str  # version of its python3, like 3.11.2
    wanted: str  # version of the interpreter that the bundle needs; empty: it does not run there
    existing: str  # the install folder, or the nearest folder above it that exists
    folder: bool  # existing is a folder
    writable: bool  # the account can write to existing
    free: int  # bytes free on its file system; -1: unknown
    account: str  # that the commands run as


def look(shell: Shell, bundle: Bundle, folder: str, sudo: Sequence[str] = ()) -> HostFacts:
    """The facts of the shell's host. Raises :class:`HostUnsuitable` when it runs no shell command for us.

    ``folder``: the install folder. ``sudo``: words to put before every command.
    """
    ran = shell.run([*sudo, "sh", "-c", _QUESTION, "preflight", folder, f"python{bundle.python}"], timeout=60.0)
    said = dict(line.partition("=")[::2] for line in ran.stdout.splitlines() if "=" in line)
    if ran.status != 0 or said.get("marker") != "drbackup-preflight":
        why = ran.stderr.strip() or say("exit status {status}", status=ran.status)
        raise HostUnsuitable(
            say("the host does not run a shell command for this login: {why}", why=why), host=shell.host
        )
    free = said.get("free_kib", "")
    return HostFacts(
        system=said.get("system", ""),
        machine=said.get("machine", ""),
        libc=said.get("libc", ""),
        python3=said.get("python3", ""),
        wanted=said.get("wanted", ""),
        existing=said.get("existing", ""),
        folder=said.get("folder") == "yes",
        writable=said.get("writable") == "yes",
        free=int(free) * 1024 if free.isdigit() else -1,
        account=said.get("account", ""),
    )


def problems(facts: HostFacts, bundle: Bundle, folder: str) -> list[Said]:
    """All reasons why this bundle can't run there, in words for the host's administrator."""
    if facts.system != "Linux":
        return [say("the host runs {system}, the agent needs Linux", system=facts.system or say("an unknown system"))]
    found: list[Said] = []
    if facts.machine != bundle.machine:
        found.append(
            say(
                "the host is a {machine} machine, this bundle is for {wanted}",
                machine=facts.machine,
                wanted=bundle.machine,
            )
        )
    found += _python_problems(facts, bundle)
    found += _libc_problems(facts, bundle)
    if not facts.folder:
        found.append(say("{folder} is not a folder", folder=facts.existing))
    elif not facts.writable:
        found.append(
            say(
                "{account} can't write to {existing} (for {folder})",
                account=facts.account,
                existing=facts.existing,
                folder=folder,
            )
        )
    needed = bundle.unpacked * 2 + bundle.path.stat().st_size + _SPARE_BYTES
    if 0 <= facts.free < needed:
        found.append(
            say(
                "{folder} has {free} MiB free, the agent needs {needed} MiB",
                folder=facts.existing,
                free=facts.free >> 20,
                needed=needed >> 20,
            )
        )
    return found


def require_suitable(facts: HostFacts, bundle: Bundle, folder: str, host: str) -> None:
    """A guarantee that the host can run the bundle. Raises :class:`HostUnsuitable`, which names every problem."""
    found = problems(facts, bundle, folder)
    if found:
        raise HostUnsuitable(say_all(found), host=host)


def _python_problems(facts: HostFacts, bundle: Bundle) -> list[Said]:
    if facts.wanted.startswith(f"{bundle.python}."):
        return []
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    if not facts.python3:
        return [say("the host has no Python: install python{wanted}", wanted=bundle.python)]
    if tuple(map(int, facts.python3.split(".")[:2])) < _OLDEST_PYTHON:
        return [
            say(
                "the host's Python is {found}, too old (the agent needs {oldest} or newer)",
                found=facts.python3,
                oldest=oldest,
            )
        ]
    return [
        say(
            "the host's Python is {found}, this bundle is for {wanted}: install python{wanted} there, or build the "
            "bundle with the host's Python",
            found=facts.python3,
            wanted=bundle.python,
        )
    ]


def _libc_problems(facts: HostFacts, bundle: Bundle) -> list[Said]:
    name, _, version = facts.libc.partition(" ")
    if name != "glibc":
        return [say("the host's C library is not glibc ({libc})", libc=facts.libc or say("unknown"))]
    if _numbers(version) < _numbers(bundle.glibc):
        return [say("the host's glibc is {version}, this bundle needs {wanted}", version=version, wanted=bundle.glibc)]
    return []


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
