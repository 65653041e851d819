"""The names of objects inside a vault, made and taken apart here only.

Refuses names that some store could mix up or take for a path.

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
_PACK_SIZE = 33  # bytes: kind letter + SHA-256
_SEGMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,126}")


def require_segment(name: str) -> str:
    """A system's or domain's name that may be part of an object name. Lower case, so that no store mixes two up.

    Raises :class:`UsageError` for any other.
    """
    if not _SEGMENT.fullmatch(name):
        raise UsageError(
            say("not usable in an object name: {name}", name=repr(name)), hint="use lower-case letters, digits, . _ -"
        )
    return name


def domain_prefix(domain: str) -> str:
    """The prefix of all packs of one domain."""
    return f"{DOMAINS_PREFIX}{require_segment(domain)}/"


def pack_name(domain: str, kind: str, pack: bytes) -> str:
    """The object name of a pack. ``pack``: SHA-256 of its bytes, 32 bytes. Raises :class:`UsageError` for no pack."""
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
    """An instant of UTC in seconds, compact, sorting by name: ``20261123T120000Z``."""
    return when.strftime("%Y%m%dT%H%M%SZ")


def record_prefix(system: str) -> str:
    """The prefix of one system's records; of all systems' when ``system`` is empty."""
    return f"{PREFIX}r/{require_segment(system)}/" if system else f"{PREFIX}r/"


def record_name(system: str, when: datetime, digest: str) -> str:
    """The object name of a record. ``when``: its commit, UTC; ``digest``: SHA-256 of its bytes, hex."""
    return f"{record_prefix(system)}{timestamp(when)}-{digest}"


def evidence_name(when: datetime, digest: str) -> str:
    """The object name of an evidence object, by month. ``when``: UTC; ``digest``: SHA-256 of its bytes, hex."""
    return f"{PREFIX}e/{when:%Y-%m}/{timestamp(when)}-{digest}"


def sealed_keys_name(when: datetime, digest: str) -> str:
    """The object name of the installation's sealed keys. ``when``: UTC; ``digest``: SHA-256 of its bytes, hex."""
    return f"{SEALED_KEYS_PREFIX}{timestamp(when)}-{digest}"


def digest_in_name(name: str) -> str:
    """The digest at the end of a hashed name, as 64 hex characters; empty for other names. Stores read it alike."""
    return (base.digest_in_name(name) or b"").hex()


def object_name(domain: str, pack: bytes) -> str:
    """The object name of a pack that is given as kind letter + SHA-256 (33 bytes)."""
    return pack_name(domain, kind_of(pack), digest_of(pack))


def require_packs(packs: Sequence[bytes]) -> None:
    """A check that each pack is given as kind letter + SHA-256 (33 bytes). Raises :class:`ProtocolViolation` else."""
    for pack in packs:
        if len(pack) != _PACK_SIZE or kind_of(pack) not in PACK_KINDS:
            raise ProtocolViolation(say("not the name of a pack: {pack}", pack=pack[:40].hex()))
