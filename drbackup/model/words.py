"""Texts in both languages at once, for documents that both Chinese auditors and foreign engineers read."""

from __future__ import annotations

import msgspec


class Words(msgspec.Struct, frozen=True):
    """One text in both languages."""

    zh: str  # Chinese
    en: str  # English
