"""Every error by which msgspec may refuse bytes that another program wrote.

Owns one list, :data:`UNREADABLE`. Code that decodes bytes from a wire, a store or a disk catches all of it. Those bytes
may be anything, also an attacker's, and no other error comes out of decoding them.
"""

from __future__ import annotations

from typing import Final

import msgspec

UNREADABLE: Final = (
    msgspec.DecodeError,  # the bytes are no document, or one of another shape
    UnicodeDecodeError,  # a text in them is not UTF-8
    RecursionError,  # lists in lists, deeper than Python can follow
)
