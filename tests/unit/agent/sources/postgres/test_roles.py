"""Which lines of a dump of roles are let near a server."""

from __future__ import annotations

import pytest

from drbackup_agent.sources.postgres.roles import missing_roles

DUMP = rb'''
--
-- PostgreSQL database cluster dump
--

\restrict abc123

SET default_transaction_read_only = off;

CREATE ROLE backup;
ALTER ROLE backup WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x';
CREATE ROLE "odd; ""name""";
ALTER ROLE "odd; ""name""" WITH NOSUPERUSER;
COMMENT ON ROLE backup IS 'two
lines';
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER;

--
-- User Config "backup"
--

ALTER ROLE backup SET search_path TO 'a', 'b';
ALTER ROLE backup IN DATABASE registry SET work_mem TO '1MB';
GRANT postgres TO backup WITH INHERIT TRUE GRANTED BY postgres;
GRANT backup TO postgres GRANTED BY postgres;

\unrestrict abc123
'''


def test_only_what_concerns_missing_roles_is_kept() -> None:
    script, new = missing_roles(DUMP, ["postgres"])
    assert new == ("backup", 'odd; "name"')
    assert script.decode().split("\n") == [
        "CREATE ROLE backup;",
        "ALTER ROLE backup WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x';",
        'CREATE ROLE "odd; ""name""";',
        'ALTER ROLE "odd; ""name""" WITH NOSUPERUSER;',
        "COMMENT ON ROLE backup IS 'two",
        "lines';",
        "ALTER ROLE backup SET search_path TO 'a', 'b';",
        "GRANT postgres TO backup WITH INHERIT TRUE;",
        "",
    ]


@pytest.mark.parametrize(
    "setting",
    [
        b"'x\nCREATE ROLE evil;\nALTER ROLE evil SUPERUSER;\n'",
        b"'it''s\nALTER ROLE me SUPERUSER;\n'",
        b"E'\\\\''\nALTER ROLE me SUPERUSER;\n--'",
        b"E'a\\'\nALTER ROLE me SUPERUSER;\n'",
        b"'--\nALTER ROLE me SUPERUSER;\n'",
        b"'\"\nALTER ROLE me SUPERUSER;\n\"'",
    ],
)
@pytest.mark.parametrize("existing", [["postgres"], ["postgres", "me"]])
def test_a_role_cant_smuggle_rights_in_a_text_of_its_own(setting: bytes, existing: list[str]) -> None:
    dump = b"CREATE ROLE me;\nALTER ROLE me WITH NOSUPERUSER;\nALTER ROLE me SET my.text TO " + setting + b";\n"
    script, new = missing_roles(dump, existing)
    assert new == (() if "me" in existing else ("me",))
    assert script == (b"" if "me" in existing else dump)


def test_comments_between_statements_hide_nothing() -> None:
    script, new = missing_roles(b"-- it's a comment; CREATE ROLE evil;\nCREATE ROLE me;\n", [])
    assert (script, new) == (b"CREATE ROLE me;\n", ("me",))
