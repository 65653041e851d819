"""The start of a deployed agent file; copied into the bundle as ``drbackup_start`` (docs/adr/0004).

It uses only the standard library and runs with any Python 3, because it must say clearly when the Python is the wrong
one. It unpacks beside the file it was started from, so that a version and its unpacked code are removed together. It
runs Python isolated, so that nothing in the account's home or environment can change what the agent imports.
"""

import json
import os
import sys
import zipfile
from pathlib import Path

UNPACKED = "unpacked"


def main() -> None:
    """The whole start: the interpreter is checked, the code unpacked once, the agent run.

    Exits with status 78 when the file was made for another Python or machine.
    """
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
    """Exits with status 78 on another Python or kind of machine than the native parts are built for."""
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
    """The folder for the unpacked code: beside the file if we may write there, else the account's own cache.

    It is beside the file, too, when it exists there already.
    """
    beside = Path(file).parent / UNPACKED
    if beside.is_dir() or os.access(str(beside.parent), os.W_OK):
        return str(beside)
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(cache) / "drbackup-agent")
