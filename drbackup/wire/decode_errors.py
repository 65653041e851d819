"""What reading bytes of another's making may raise, whatever those bytes are.

The decoder has three ways to say no: its own error, text that is no UTF-8, and arrays in arrays in arrays, which it
follows as deep as Python lets it. Who reads what came over a wire, out of a store or off a disk catches all three.
"""

from __future__ import annotations

from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
