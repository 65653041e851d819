"""Makes a golden vault: one small point whose bytes every later version must still read. Run once per format.

python -m tests.golden.make FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from drbackup.model.point import SourceFacts, Totals
from drbackup.stores.folder.store import DirectoryStore
from drbackup.vault.description import VaultDescription, create_vault
from drbackup.vault.record import Commit, Sealed, make_record, write_record
from drbackup.vault.tree import Entry, EntryKind
from drbackup.vault.write.writer import Written
from tests.support.cities.small_vault import SmallVault

MTIME = 1_700_000_000_123_456_789
LEDGER = b"".join(b"%06d,enterprise,%d\n" % (number, number * number) for number in range(20_000))
SCAN = bytes(range(256)) * 700
CONTENTS = {
    b"srv/scans/\xe8\xaf\x81\xe7\x85\xa7.bin": SCAN,
    b"srv/scans/empty": b"",
    b"srv/scans/latin-\xe9": b"a name that is no UTF-8",
    b"srv/tables/ledger.copy": LEDGER,
}


def write_point(vault: SmallVault) -> Written:
    """One of everything a reader must understand: folder, files small and large, link, hard link, sparse file."""
    with vault.writer() as writer:
        writer.add(Entry(b"srv", EntryKind.DIR, 0o755, mtime_ns=MTIME))
        writer.add(Entry(b"srv/scans", EntryKind.DIR, 0o750, mtime_ns=MTIME))
        names = sorted(name for name in CONTENTS if name.startswith(b"srv/scans/"))
        for name in names:
            data = CONTENTS[name]
            entry = Entry(name, EntryKind.FILE, 0o640, size=len(data), mtime_ns=MTIME)
            writer.add(entry, writer.small(data))
        writer.add(Entry(b"srv/sparse", EntryKind.FILE, 0o600, mtime_ns=MTIME, size=1 << 20,
                         holes=((4, (1 << 20) - 8),)), writer.stream([b"head", b"tail"]))  # fmt: skip
        writer.add(Entry(b"srv/tables", EntryKind.DIR, 0o755, mtime_ns=MTIME))
        writer.add(Entry(b"srv/tables/ledger.copy", EntryKind.FILE, 0o644, mtime_ns=MTIME, rows=20_000),
                   writer.stream([LEDGER]))  # fmt: skip
        writer.add(Entry(b"srv/tables/link", EntryKind.SYMLINK, 0o777, target=b"ledger.copy"))
        writer.add(Entry(b"srv/tables/same", EntryKind.HARDLINK, target=b"srv/tables/ledger.copy"))
        return writer.finish()


def make(folder: Path) -> SmallVault:
    """A whole vault in ``folder``: description, packs, one record of system ``golden``, source ``register``."""
    vault = SmallVault(DirectoryStore("golden", folder))
    recipients = tuple(key.recipient for key in vault.keys.values())
    create_vault(vault.store, VaultDescription("golden", 1, recipients, vault.signer.public), vault.signer)
    written = write_point(vault)
    facts = SourceFacts(pinned_ns=MTIME, kind="files")
    content = Sealed(written.root, facts, Totals(written.entries, written.files, written.rows, written.content_bytes))
    commit = Commit("golden", "register", vault.domain, "s1", MTIME, "", written.packs, content)
    write_record(vault.store, make_record(commit, recipients), vault.signer)
    return vault


if __name__ == "__main__":
    make(Path(sys.argv[1]))
