"""Takes secrets out of text that came from another machine before a person or a log sees it.

Refuses nothing and never fails: what looks like a credential becomes ``***``. The agent is written not to print any;
this is for the tools it starts, whose error lines quote connection strings and signed URLs. Rather too much is masked
than too little: what stands behind a password without a space goes with it.

The text may be an enemy's. Every repetition in the patterns is bounded and the text is cut, because a search that goes
back and forth over a long line would hold the whole daemon still.
"""

from __future__ import annotations

import re

from drbackup.system.console import without_controls

MASK = "***"
LONGEST = 32 << 10  # characters of one text that anybody is shown
_BEHIND = 2048  # looked at behind the cut, so that a credential that lies across it is still seen as one

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
    """``text`` without credentials, and without control characters that could repaint a terminal."""
    kept = text[: LONGEST + _BEHIND]
    for pattern, shown in _PATTERNS:
        kept = pattern.sub(shown, kept)
    if len(text) > LONGEST:
        kept = kept[:LONGEST] + f" … and about {len(text) - LONGEST} more characters"
    return without_controls(kept)
