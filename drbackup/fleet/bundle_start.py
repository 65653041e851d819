"""The first thing a deployed agent file runs; copied into the bundle as ``drbackup_start`` (docs/adr/0004).

Standard library only, and written for any Python 3: it must be able to say clearly that the Python is the wrong one.
It unpacks beside the file it was started from, so that a version and its unpacked code come and go together, and it
runs Python isolated, so that nothing in the account's home or environment can slip into the agent.
"""

import json
import os
import sys
import zipfile
from pathlib import Path

UNPACKED = "unpacked"


def main() -> None:
    """Check the interpreter, unpack once, run the agent."""
    file = os.path.realpath(sys.argv[0])
    _require_fit(file)
    if not sys.flags.isolated:
        os.execv(sys.executable, [sys.executable, "-I", file, *sys.argv[1:]])
    for name in [name for name in os.environ if name.startswith("SHIV_")]:
        del os.environ[name]
    os.environ["SHIV_ROOT"] = _root(file)
    os.environ["DRBACKUP_AGENT_BUNDLE"] = file
    sys.argv[0] = file
    from _bootstrap import bootstrap  # type: ignore[import-not-found]

    bootstrap()


def _require_fit(file: str) -> None:
    """The native parts are built for one Python and one kind of machine."""
    with zipfile.ZipFile(file) as archive:
        made_for = json.loads(archive.read("made_for.json").decode())
    here = {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "machine": os.uname().machine,
        "system": os.uname().sysname,
    }
    for name, wanted in made_for.items():
        if name in here and here[name] != wanted:
            sys.stderr.write(
                f"drbackup-agent: made for {name} {wanted}, this host runs {here[name]} ({sys.executable})\n"
            )
            sys.exit(78)


def _root(file: str) -> str:
    """Beside the file when that was unpacked already or we may write there; else the account's own cache."""
    beside = Path(file).parent / UNPACKED
    if beside.is_dir() or os.access(str(beside.parent), os.W_OK):
        return str(beside)
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(cache) / "drbackup-agent")
