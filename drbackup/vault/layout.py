"""Names of objects inside a vault. One place, so that a name is never spelled twice.

``<prefix>/v1/vault`` · ``d/<domain>/p|t|i/<sha256>`` · ``r/<system>/<time>-<sha256>`` · ``e/<month>/<time>-<sha256>`` ·
``c/<time>-<sha256>``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from drbackup.errors import ProtocolViolation, UsageError, say
from drbackup.model.point import digest_of, kind_of
from drbackup.stores import base

PREFIX = "v1/"
VAULT_NAME = PREFIX + "vault"
DOMAINS_PREFIX = PREFIX + "d/"
SEALED_KEYS_PREFIX = PREFIX + "c/"
DATA, TREE, INDEX = "p", "t", "i"
PACK_KINDS = (DATA, TREE, INDEX)
RECIPIENT_ROLES = {DATA: ("recovery", "drill"), TREE: ("recovery", "drill", "catalog")}
RECIPIENT_ROLES[INDEX] = RECIPIENT_ROLES[TREE]
_PACK_SIZE = 33  # kind letter + SHA-256
_SEGMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,126}")


def require_segment(name: str) -> str:
    """A system's or domain's name as part of an object name; lower case so that no store can mix two up."""
    if not _SEGMENT.fullmatch(name):
        raise UsageError(
            say("not usable in an object name: {name}", name=repr(name)), hint="use lower-case letters, digits, . _ -"
        )
    return name


def domain_prefix(domain: str) -> str:
    """Where the packs of one domain lie."""
    return f"{DOMAINS_PREFIX}{require_segment(domain)}/"


def pack_name(domain: str, kind: str, pack: bytes) -> str:
    """Object name of a pack: ``pack`` is the SHA-256 of its bytes (32 bytes)."""
    if kind not in PACK_KINDS or len(pack) != 32:
        raise UsageError(say("not a pack: kind {kind}, {n} bytes of name", kind=repr(kind), n=len(pack)))
    return f"{domain_prefix(domain)}{kind}/{pack.hex()}"


def split_pack_name(name: str) -> tuple[str, str, bytes] | None:
    """(domain, kind, SHA-256) of a pack's object name; None for a name that no pack has."""
    parts = name.removeprefix(DOMAINS_PREFIX).split("/")
    if not name.startswith(DOMAINS_PREFIX) or len(parts) != 3:
        return None
    domain, kind, digest = parts
    if not _SEGMENT.fullmatch(domain) or kind not in PACK_KINDS or digest_in_name(digest) != digest:
        return None
    return domain, kind, bytes.fromhex(digest)


def timestamp(when: datetime) -> str:
    """Seconds in UTC, compact, sorting by name: ``20261123T120000Z``."""
    return when.strftime("%Y%m%dT%H%M%SZ")


def record_prefix(system: str) -> str:
    """Where the records of one system lie; of all systems when empty."""
    return f"{PREFIX}r/{require_segment(system)}/" if system else f"{PREFIX}r/"


def record_name(system: str, when: datetime, digest: str) -> str:
    """``digest``: SHA-256 of the record object, hex."""
    return f"{record_prefix(system)}{timestamp(when)}-{digest}"


def evidence_name(when: datetime, digest: str) -> str:
    """Drill evidence, by month."""
    return f"{PREFIX}e/{when:%Y-%m}/{timestamp(when)}-{digest}"


def sealed_keys_name(when: datetime, digest: str) -> str:
    """The installation's own keys, sealed to the custodians."""
    return f"{SEALED_KEYS_PREFIX}{timestamp(when)}-{digest}"


def digest_in_name(name: str) -> str:
    """The 64 hex characters at the end of a hashed name; empty for others. As the stores read it, in hex."""
    return (base.digest_in_name(name) or b"").hex()


def object_name(domain: str, pack: bytes) -> str:
    """Name of a pack given as kind letter + SHA-256."""
    return pack_name(domain, kind_of(pack), digest_of(pack))


def require_packs(packs: Sequence[bytes]) -> None:
    """Raises :class:`ProtocolViolation` unless each is a kind letter and 32 bytes."""
    for pack in packs:
        if len(pack) != _PACK_SIZE or kind_of(pack) not in PACK_KINDS:
            raise ProtocolViolation(say("not the name of a pack: {pack}", pack=pack[:40].hex()))
