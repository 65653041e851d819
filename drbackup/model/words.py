"""What is said in both languages at once, in documents that both Chinese auditors and foreign engineers read."""

from __future__ import annotations

import msgspec


class Words(msgspec.Struct, frozen=True):
    """One thing said twice."""

    zh: str
    en: str
