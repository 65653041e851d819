"""Text of another machine without its secrets, before a person or a log sees it.

Refuses nothing and never fails: what looks like a credential becomes ``***``. The agent itself prints none. But the
tools that it starts quote connection strings and signed URLs in their error lines. Too much is masked rather than too
little: what follows a password without a space is masked with it.

An attacker may have written the text. A search that goes back and forth over a long line would stop the whole daemon.
So every repetition in the patterns is bounded, and the text is cut.
"""

from __future__ import annotations

import re

from drbackup.system.console import without_controls

MASK = "***"
LONGEST = 32 << 10  # characters of one text that anybody is shown
_BEHIND = 2048  # characters looked at behind the cut, so that a credential that lies across it is still seen as one

_PATTERNS = (
    # scheme://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s:/@]{0,200}:)[^\s@]{1,1000}(@)", re.IGNORECASE), rf"\1{MASK}\2"),
    # X-Amz-Signature=…, X-Amz-Credential=…, X-Amz-Security-Token=… in a signed URL
    (re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+", re.IGNORECASE), rf"\1{MASK}"),
    # Authorization: Bearer …
    (re.compile(r"(\bauthorization\s{0,20}[:=]\s{0,20})[^\r\n]+", re.IGNORECASE), rf"\1{MASK}"),
    # password=…, PGPASSWORD: '…', MYSQL_PWD=…, secret_key = …, "password": "…"
    (
        re.compile(
            r"((?:passw(?:or)?d|pwd|passphrase|secret|token|(?:api|access|private)[_-]?key)"
            r"[\w-]{0,80}[\"']?\s{0,20}[=:]\s{0,20})(?:'[^']*'|\"[^\"]*\"|\S+)",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL),
     MASK),
)  # fmt: skip


def masked(text: str) -> str:
    """``text`` without credentials, and without control characters that could repaint a terminal.

    At most :data:`LONGEST` characters, and a note of how many more there were.
    """
    kept = text[: LONGEST + _BEHIND]
    for pattern, shown in _PATTERNS:
        kept = pattern.sub(shown, kept)
    if len(text) > LONGEST:
        kept = kept[:LONGEST] + f" … and about {len(text) - LONGEST} more characters"
    return without_controls(kept)
