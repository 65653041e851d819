"""Takes secrets out of text that came from another machine before a person or a log sees it.

Refuses nothing and never fails: what looks like a credential becomes ``***``. The agent is written not to print any;
this is for the tools it starts, whose error lines quote connection strings and signed URLs.
"""

from __future__ import annotations

import re

MASK = "***"

_PATTERNS = (
    # scheme://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(@)", re.IGNORECASE), rf"\1{MASK}\2"),
    # X-Amz-Signature=…, X-Amz-Credential=…, X-Amz-Security-Token=… in a signed URL
    (re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"']+", re.IGNORECASE), rf"\1{MASK}"),
    # Authorization: Bearer …
    (re.compile(r"(\bauthorization\s*[:=]\s*)[^\r\n]+", re.IGNORECASE), rf"\1{MASK}"),
    # password=…, PGPASSWORD: '…', secret_key = …
    (
        re.compile(
            r"([\w-]*(?:passw(?:or)?d|passphrase|secret|token|(?:api|access|private)[_-]?key)[\w-]*\s*[=:]\s*)"
            r"(?:'[^']*'|\"[^\"]*\"|[^\s,;&]+)",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
)


def masked(text: str) -> str:
    """``text`` without credentials, and without control characters that could repaint a terminal."""
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return "".join(letter for letter in text if letter in "\n\t" or letter.isprintable())
