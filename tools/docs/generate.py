"""Everything in the tree that is made from the source: ``make docs`` writes it anew, a test fails when it is stale.

A new generated file is one more generator here: a function that gives the files' texts by their paths in the tree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from drbackup.reports.policy import reference, schema
from tools.docs import cli_reference, translations

ROOT = Path(__file__).resolve().parents[2]


def commands() -> dict[str, bytes]:
    """The reference of the command line."""
    return {cli_reference.PAGE: cli_reference.page().encode()}


def policies() -> dict[str, bytes]:
    """The reference of policies and inventory, and the schemas for editors."""
    schemas = {schema.path(which): schema.schema_text(which).encode() for which in schema.MODELS}
    return {reference.REFERENCE_PAGE: reference.page().encode(), **schemas}


GENERATORS: tuple[Callable[[], dict[str, bytes]], ...] = (commands, policies, translations.current)


def stale() -> dict[str, bytes]:
    """The files that are not as they should be, with what they should hold."""
    wanted = {path: data for generator in GENERATORS for path, data in generator().items()}
    return {path: data for path, data in wanted.items() if _committed(ROOT / path) != data}


def _committed(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def main() -> int:
    """Write or name what is stale; 1 when something is left to be done by a person."""
    parser = argparse.ArgumentParser(description="Keep what is generated current.")
    parser.add_argument("--write", action="store_true", help="write what is stale, not only name it")
    write = parser.parse_args().write
    found = stale()
    for path, data in found.items():
        print(f"{'written' if write else 'stale'}: {path}")
        if write:
            (ROOT / path).write_bytes(data)
    untranslated = translations.problems()
    print("".join(f"{problem}\n" for problem in untranslated), end="")
    return 1 if untranslated or (found and not write) else 0


if __name__ == "__main__":
    sys.exit(main())
