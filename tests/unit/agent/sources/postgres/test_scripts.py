"""PostgreSQL's scripts without a server: names, roles, and the lines that are taken out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from drbackup.vault.tree import Entry, EntryKind
from drbackup_agent.sources.postgres.roles import missing_roles
from drbackup_agent.sources.postgres.scripts import without_restrict
from drbackup_agent.sources.postgres.tables import RowCounter, file_name, header_of
from drbackup_agent.sources.postgres.tools import literal, quoted

NAMES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=63)


@given(NAMES, NAMES, NAMES, NAMES)
def test_two_tables_never_share_a_file_and_every_name_fits(a: str, b: str, c: str, d: str) -> None:
    one, two = file_name(a, b), file_name(c, d)
    assert (one == two) == ((a, b) == (c, d))
    assert len(one) <= 255
    assert b"/" not in one
    assert b"\0" not in one
    assert not one.startswith(b".")


@given(NAMES)
def test_a_quoted_name_is_one_line(name: str) -> None:
    assert len(quoted(name).splitlines()) == 1
    assert quoted('a"b') == '"a""b"'
    assert quoted("a\nb\\") == 'U&"a\\+00000ab\\\\"'


def test_a_literal_survives_quotes_and_backslashes() -> None:
    assert literal("it's") == "'it''s'"
    assert literal("\\'") == "E'\\\\'''"


def test_the_header_is_found_again() -> None:
    header = b'COPY "public"."t" ("a") FROM stdin;\n'
    counter = RowCounter(header)
    whole = b"".join(counter.stream(iter([b"1\n2\n", b"3\n"])))
    assert counter.rows == 3
    assert header_of(whole, Entry(b"tables/x", EntryKind.FILE)) == header


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 300_000), st.integers(0, 300_000), st.integers(500, 100_000))
def test_only_the_dumps_own_restriction_lines_go(before: int, after: int, block: int) -> None:
    inside = b"SELECT '\n\\restrict x in a text';\n" + b"-- a\n" * (before // 5)
    script = b"--\n\n\\restrict AbC123\n\n" + inside + b"-- b\n" * (after // 5) + b"\\unrestrict AbC123\n\n"
    blocks = [script[start : start + block] for start in range(0, len(script), block)]
    assert b"".join(without_restrict(blocks)) == b"--\n\n\n" + inside + b"-- b\n" * (after // 5) + b"\n"


GLOBALS = b'''SET client_encoding = 'UTF8';
CREATE ROLE app;
ALTER ROLE app WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x$y:z';
CREATE ROLE "Odd ""One""";
ALTER ROLE "Odd ""One""" WITH LOGIN;
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER PASSWORD 'new';
ALTER ROLE app SET search_path TO 'x';
GRANT pg_monitor TO app GRANTED BY postgres;
GRANT app TO postgres WITH ADMIN OPTION GRANTED BY app;
CREATE TABLESPACE fast OWNER app LOCATION '/mnt/fast';
'''


def test_existing_roles_are_never_altered_nor_given_more() -> None:
    script, new = missing_roles(GLOBALS, ["postgres", "pg_monitor"])
    assert new == ("app", 'Odd "One"')
    assert b"postgres" not in script
    assert b"TABLESPACE" not in script
    assert b"GRANT pg_monitor TO app;" in script
    assert b"ALTER ROLE app SET search_path" in script
    assert missing_roles(GLOBALS, ["postgres", "app", 'Odd "One"']) == (b"", ())
