"""The scripts of what belongs to a database and is in none of pg_dump's sections: its creation and its settings.

Both scripts name the database as psql's variable ``:"database"``, so that they work under any name:
``psql -v database=NAME -f create-database.sql postgres``.
"""

from __future__ import annotations

from drbackup_agent.sources.postgres.tools import PsqlSession, literal, quoted

_HERE = "d.datname = pg_catalog.current_database()"
# Their values are lists of already quoted names, which must not be quoted again (pg_dump knows the same six).
_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}


def role_passwords_readable(session: PsqlSession) -> bool:
    """Whether pg_dumpall may read the roles' password verifiers."""
    return session.value("SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')") == "t"


def creation_script(session: PsqlSession, server: int) -> bytes:
    """The script ``create-database.sql``: ``CREATE DATABASE`` from template0 with the encoding and locale it has.

    ``server``: its version number as PostgreSQL counts (150018).
    """
    locale = "NULL" if server < 150000 else "d.daticulocale" if server < 170000 else "d.datlocale"
    provider = "'c'" if server < 150000 else "d.datlocprovider"
    encoding, collate, ctype, kind, name = session.rows(
        f"SELECT pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, {provider}, {locale} "
        f"FROM pg_catalog.pg_database d WHERE {_HERE}"
    )[0]
    words = [f"TEMPLATE template0 ENCODING {literal(encoding or '')}"]
    if kind == "i":
        words.append(f"LOCALE_PROVIDER icu ICU_LOCALE {literal(name or '')}")
    elif kind == "b":
        words.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {literal(name or '')}")
    words.append(f"LC_COLLATE {literal(collate or '')} LC_CTYPE {literal(ctype or '')}")
    return f'CREATE DATABASE :"database" {" ".join(words)};\n'.encode()


def settings_script(session: PsqlSession) -> bytes:
    """The script ``settings.sql``: owner, comment, rights and ``ALTER DATABASE … SET`` settings.

    It must run last: a setting such as ``default_transaction_read_only`` would stop the restore itself.
    """
    owner, comment, rights_changed = session.rows(
        "SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.shobj_description(d.oid, 'pg_database'), "
        f"d.datacl IS NOT NULL FROM pg_catalog.pg_database d WHERE {_HERE}"
    )[0]
    lines = [f'ALTER DATABASE :"database" OWNER TO {quoted(owner or "")};']
    if comment:
        lines.append(f'COMMENT ON DATABASE :"database" IS {literal(comment)};')
    if rights_changed == "t":
        lines += _rights(session)
    lines += _settings(session)
    return ("\n".join(lines) + "\n").encode()


def _rights(session: PsqlSession) -> list[str]:
    granted = session.rows(
        "SELECT a.privilege_type, a.grantee = 0, pg_catalog.pg_get_userbyid(a.grantee), a.is_grantable "
        f"FROM pg_catalog.pg_database d, LATERAL pg_catalog.aclexplode(d.datacl) a WHERE {_HERE} ORDER BY 2, 3, 1"
    )
    lines = ['REVOKE ALL ON DATABASE :"database" FROM PUBLIC;']
    for right, public, role, grantable in granted:
        whom = "PUBLIC" if public == "t" else quoted(role or "")
        more = " WITH GRANT OPTION" if grantable == "t" else ""
        lines.append(f'GRANT {right} ON DATABASE :"database" TO {whom}{more};')
    return lines


def _settings(session: PsqlSession) -> list[str]:
    found = session.rows(
        "SELECT s.setrole = 0, pg_catalog.pg_get_userbyid(s.setrole), c.setting FROM pg_catalog.pg_database d "
        "JOIN pg_catalog.pg_db_role_setting s ON s.setdatabase = d.oid, "
        "LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS c(setting, place) "
        f"WHERE {_HERE} ORDER BY 1, 2, c.place"
    )
    lines = []
    for everyone, role, setting in found:
        name, _, value = (setting or "").partition("=")
        whom = 'DATABASE :"database"' if everyone == "t" else f'ROLE {quoted(role or "")} IN DATABASE :"database"'
        lines.append(f"ALTER {whom} SET {_setting_name(name)} TO {value if name in _LISTS else literal(value)};")
    return lines


def _setting_name(name: str) -> str:
    """A setting's name, quoted. An extension's setting has two names joined by a dot."""
    return ".".join(quoted(part) for part in name.split("."))
