"""The deployment of an agent bundle on a host.

It needs an administrator's login on the host. The controller's everyday key may only run the agent, so it can't replace
the agent either (docs/adr/0004).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drbackup.errors import AgentMissing, say
from drbackup.fleet.bundle import Bundle
from drbackup.fleet.deployed import Deployed
from drbackup.fleet.preflight import look, require_suitable
from drbackup.fleet.remote import Shell
from drbackup.system.masking import masked

_INSTALL_SECONDS = 600.0
_ANSWER = "drbackup-installer "
SUDO = ("sudo", "-n")


def deploy(shell: Shell, bundle: Bundle, folder: str, *, sudo: bool = False) -> Deployed:
    """The version that is now in service: ``bundle``, installed below ``folder`` on the shell's host.

    Raises :class:`HostUnsuitable` before anything is changed, and :class:`AgentMissing` when the new version does not
    run there. Then the one before is in service again.
    """
    before: Sequence[str] = SUDO if sudo else ()
    require_suitable(look(shell, bundle, folder, before), bundle, folder, shell.host)
    source = Path(__file__).with_name("installer.py").read_text()
    data = bundle.path.read_bytes()
    arguments = (folder, bundle.folder_name, bundle.sha256, str(len(data)))
    command = [*before, f"python{bundle.python}", "-I", "-c", source, *arguments]
    ran = shell.run(command, data, timeout=_INSTALL_SECONDS)
    answer = _answer(ran.stdout)
    if not answer.get("done"):
        killed = say("the installer was killed on the host")
        ended = killed if ran.status is None else say("exit status {status}", status=ran.status)
        why = masked(str(answer.get("refused") or ran.stderr.strip())) or ended
        raise AgentMissing(
            say("the new agent was not put into service: {why}", why=why),
            host=shell.host,
            safe="the version that was in service before still is" if answer else "one whole version is in service",
            hint="mend what the message names on the host, then deploy again",
        )
    return Deployed(
        bundle.version, bundle.sha256, folder, str(answer.get("previous", "")), masked(str(answer.get("version", "")))
    )


def _answer(stdout: str) -> dict[str, Any]:
    """The installer's one line of JSON, decoded; a login script may have printed other lines. Empty without one."""
    lines = [line for line in stdout.splitlines() if line.startswith(_ANSWER)]
    if not lines:
        return {}
    try:
        found = json.loads(lines[-1].removeprefix(_ANSWER))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
