"""What the controller's key may run on this host: one of three verbs, nothing else.

``authorized_keys`` starts ``drbackup-agent forced``, whatever command the controller asks for. sshd puts that command
into SSH_ORIGINAL_COMMAND. Nothing of that text is ever executed: it only chooses among :data:`ALLOWED`.
"""

from __future__ import annotations

import os
import shlex

ALLOWED = ("serve", "version", "preflight")
_PROGRAM = "drbackup-agent"


def chosen_verb(original: str) -> str | None:
    """The allowed verb that ``original`` asks for, None for anything else. Without a command it is ``serve``.

    ``VERB`` and ``…/drbackup-agent VERB`` are accepted. So the inventory's ``command`` may be the same with and without
    a forced command.
    """
    try:
        words = shlex.split(original)
    except ValueError:
        return None
    if not words:
        return "serve"
    if len(words) == 2 and os.path.basename(words[0]) == _PROGRAM:
        words = words[1:]
    return words[0] if len(words) == 1 and words[0] in ALLOWED else None
