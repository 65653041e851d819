"""Every error by which msgspec may refuse bytes that another program wrote.

Owns one list, :data:`UNREADABLE`. Whoever decodes what came over a wire, out of a store or from a disk catches all of
it, because those bytes may be anything, also an attacker's. Then no other error can end a decoding.
"""

from __future__ import annotations

from typing import Final

import msgspec

UNREADABLE: Final = (
    msgspec.DecodeError,  # the bytes are no document, or one of another shape
    UnicodeDecodeError,  # a text in them is not UTF-8
    RecursionError,  # lists in lists, deeper than Python can follow
)
