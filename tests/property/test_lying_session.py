"""Whatever an agent asks and says, in any order: the backup centre answers or refuses, and believes nothing
impossible."""

from __future__ import annotations

import atexit
import hashlib
import itertools
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drbackup.controller.catalog import Catalog
from drbackup.controller.runs.agent_requests import (
    BackupRequests,
    Listeners,
    ReadablePacks,
    ReadingRequests,
    UploadTarget,
)
from drbackup.errors import DrbackupError
from drbackup.fleet.answers import Answerer
from drbackup.vault.layout import split_pack_name
from drbackup.vault.suite import MAX_CHUNK
from drbackup.wire.messages import Fetch, Fetched, Locate, Located, Pinned, Place, Question, Upload, Uploaded
from tests.property.test_decoders import EXAMPLES
from tests.support.doubles.memory_store import MemoryStore

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
OURS, THEIRS = "db1.test", "db2.test"
BODIES = (b"one pack", b"another pack" * 90, b"x")
NAMES = tuple(hashlib.sha256(body).digest() for body in BODIES)
FOREIGN = b"a pack of the neighbour's"
FOREIGN_NAME = hashlib.sha256(FOREIGN).digest()
IDS = (b"\x01" * 32, b"\x02" * 32, NAMES[0])

_numbers = itertools.count()

numbers = st.sampled_from(
    [0, 1, -1, 7, 8, 9, 1 << 20, 1 << 24, 1 << 31, (1 << 32) - 2, 1 << 62, (1 << 64) - 1, -(1 << 63)]
)
kinds = st.sampled_from(["p", "t", "i", "p", "r", "", "p/..", "../r", "\0", "q" * 5000])
names = st.sampled_from([*NAMES, *NAMES, FOREIGN_NAME, b"", b"x" * 31, b"../../../v1/vault".ljust(32, b"/")])
places = st.builds(Place, st.sampled_from(IDS) | st.just(b""), names, numbers, numbers, numbers, numbers)
possible = st.builds(
    Place,
    st.sampled_from(IDS),
    st.sampled_from(NAMES),
    st.integers(0, 5),
    st.integers(0, 8),
    st.integers(0, 9),
    st.integers(0, 99),
)
domains = st.sampled_from([OURS, THEIRS, "", "../x", "\0", "d" * 300])
questions: st.SearchStrategy[Question] = st.one_of(
    st.builds(Locate, st.just(1), st.lists(st.sampled_from(IDS), max_size=3).map(b"".join) | st.binary(max_size=70)),
    st.builds(Fetch, st.just(1), kinds, domains, names, numbers, numbers),
    st.builds(Pinned, st.just(1), numbers, st.sampled_from(["", "0/16", "x" * 70_000])),
    st.builds(Upload, st.just(1), kinds, names, numbers),
    st.builds(Uploaded, st.just(1), kinds, names, numbers, st.lists(places | possible, max_size=3).map(tuple)),
)


@st.composite
def talks(draw: st.DrawFn) -> list[tuple[Question, bytes]]:
    """Questions with bodies; now and then a whole upload, as an honest agent does it, with places that may lie."""
    talk: list[tuple[Question, bytes]] = []
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            talk.append((draw(questions), draw(st.sampled_from([b"", b"", *BODIES, FOREIGN]))))
            continue
        at = draw(st.integers(0, len(BODIES) - 1))
        kind = draw(st.sampled_from(["p", "t", "i"]))
        said = draw(st.lists(possible | places, max_size=4)) if draw(st.booleans()) else []
        talk.append((Upload(1, kind, NAMES[at], len(BODIES[at])), b""))
        talk.append((Uploaded(1, kind, NAMES[at], len(BODIES[at]), tuple(said)), BODIES[at]))
    return talk


@cache
def catalog() -> Catalog:
    """One for all talks, each in a domain of its own: making the tables is what would cost most here."""
    folder = TemporaryDirectory(prefix="lying-session-")
    opened = Catalog.open(Path(folder.name) / "catalog.sqlite")
    atexit.register(folder.cleanup)
    atexit.register(opened.close)  # before the folder goes
    return opened


@settings(
    deadline=None, max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(talks())
def test_no_talk_makes_the_centre_believe_the_impossible(talk: list[tuple[Question, bytes]]) -> None:
    store = MemoryStore("main")
    store.put(f"v1/d/{THEIRS}/p/{FOREIGN_NAME.hex()}", FOREIGN)
    domain = f"db{next(_numbers)}.test"
    site = UploadTarget(catalog(), store, domain, "s1", lambda: NOW, relay=True)
    answerer = Answerer(BackupRequests(site, Listeners()))
    for question, body in talk:
        with suppress(DrbackupError):
            answer, data = answerer.answer(question, body)
            assert not isinstance(answer, Fetched)
            assert not data
            if isinstance(answer, Located):
                require_possible(answer.places, store, domain)
    require_possible(catalog().packs.locate(domain, "main", IDS), store, domain)
    assert catalog().packs.locate(THEIRS, "main", IDS) == ()
    require_own_objects(store, domain)


def require_possible(places: tuple[Place, ...], store: MemoryStore, domain: str) -> None:
    for place in places:
        sizes = list(_sizes(place.pack, store, domain))
        assert sizes, "a place in a pack that the store does not have"
        assert 0 <= place.offset <= sizes[0] - place.size
        assert 0 <= place.raw <= MAX_CHUNK
        assert 0 <= place.ordinal < 1 << 32


def _sizes(pack: bytes, store: MemoryStore, domain: str) -> Iterator[int]:
    for name, data in store.objects.items():
        if name.startswith(f"v1/d/{domain}/") and name.endswith(pack.hex()):
            yield len(data)


def require_own_objects(store: MemoryStore, domain: str) -> None:
    """Nothing is in the store but packs of the agent's own domain, under the names of their bytes."""
    for name, data in store.objects.items():
        if data == FOREIGN:
            continue
        parts = split_pack_name(name)
        assert parts is not None
        where, _, digest = parts
        assert where == domain
        assert hashlib.sha256(data).digest() == digest


@settings(
    deadline=None, max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(talks())
def test_a_reading_session_gets_its_points_packs_and_puts_nothing(talk: list[tuple[Question, bytes]]) -> None:
    store = MemoryStore("main")
    for body, name in zip(BODIES, NAMES, strict=True):
        store.put(f"v1/d/{OURS}/p/{name.hex()}", body)
    store.put(f"v1/d/{THEIRS}/p/{FOREIGN_NAME.hex()}", FOREIGN)
    before = dict(store.objects)
    shelf = ReadablePacks.of([(OURS, [b"p" + NAMES[0]], store)])
    answerer = Answerer(ReadingRequests(shelf, Listeners()))
    for question, body in talk:
        with suppress(DrbackupError):
            answer, data = answerer.answer(question, body)
            if isinstance(answer, Fetched):
                assert isinstance(question, Fetch)
                assert (question.domain, question.kind, question.pack) == (OURS, "p", NAMES[0])
                assert data == BODIES[0][question.offset : question.offset + question.length]
    assert store.objects == before
