"""A real agent's streams, link, destination and vault writer with the simplest source: the files of one folder.

Run as a program. ``TREE_AGENT_LOST``: a file; while it exists, the agent reports one pack that was never stored, and
removes the file. ``TREE_AGENT_WAIT``: while this file exists, the agent waits after its pin, until cancelled.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

import msgspec

from drbackup.model.point import SourceFacts
from drbackup.vault.tree import Entry, EntryKind, path_key
from drbackup.vault.write.writer import PointWriter
from drbackup.wire.messages import BackupJob, BackupResult, Job, Pinned, Progress, Result
from drbackup_agent.serve import end_process_group, own_process_group, serve, take_streams
from drbackup_agent.session.link import Link
from drbackup_agent.session.upload import WireDestination
from drbackup_agent.sources.files.spec import FilesSpec
from drbackup_agent.sources.kinds import read_spec


def copy_tree(job: Job, link: Link, state: Path, skew_ns: int) -> Result:
    assert isinstance(job, BackupJob)
    spec = read_spec(job.spec)
    assert isinstance(spec, FilesSpec)
    root = Path(spec.paths[0])
    pinned = time.time_ns()
    link.ask(Pinned(0, pinned, "here"))
    wait = os.environ.get("TREE_AGENT_WAIT", "")
    while wait and Path(wait).exists():
        link.check()
        link.cancelled.wait(0.05)
    with PointWriter(WireDestination(link), job.keys) as writer:
        for path in sorted((path for path in root.rglob("*") if path.is_file()), key=lambda p: path_key(_key(root, p))):
            content = writer.stream([path.read_bytes()])
            writer.add(Entry(_key(root, path), EntryKind.FILE, size=content.size), content)
            link.tell(Progress("sending", writer.done_bytes))
        written = writer.finish()
    lost = os.environ.get("TREE_AGENT_LOST", "")
    packs = written.packs
    if lost and Path(lost).exists():
        Path(lost).unlink()
        packs = (*packs, b"p" + hashlib.sha256(b"never sent").digest())
    facts = msgspec.msgpack.encode(SourceFacts(pinned_ns=pinned, kind="files", skew_ns=skew_ns))
    return BackupResult(
        root=written.root,
        packs=packs,
        facts=facts,
        entries=written.entries,
        files=written.files,
        rows=-1,
        content_bytes=written.content_bytes,
        new_bytes=written.new_bytes,
        stored_bytes=written.stored_bytes,
    )


def _key(root: Path, path: Path) -> bytes:
    return os.fsencode(path.relative_to(root))


def main() -> int:
    streams = take_streams()
    own_process_group()
    try:
        return serve(copy_tree, Path("/nonexistent"), streams)
    finally:
        end_process_group()


if __name__ == "__main__":
    sys.exit(main())
