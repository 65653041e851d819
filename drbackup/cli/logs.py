"""The log on stderr: for a person, as JSON lines, or as the journal wants it.

Owns structlog's and logging's configuration of the ``drbackup`` command. Nothing here ever writes to stdout.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_JOURNAL = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def _journal(_logger: Any, method: str, event: dict[str, Any]) -> str:
    """One line with the syslog priority systemd reads: ``<4>event key=value``."""
    text = str(event.pop("event", ""))
    event.pop("timestamp", None)
    event.pop("level", None)
    rest = " ".join(f"{key}={value!r}" for key, value in event.items())
    return f"<{_JOURNAL.get(method, 6)}>{text} {rest}".rstrip().replace("\n", " ")


def configure(level: str, form: str) -> None:
    """Log from ``level`` up, as ``console``, ``json`` or ``journald``. May be called again."""
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: Any = {
        "json": structlog.processors.JSONRenderer(ensure_ascii=False),
        "journald": _journal,
    }.get(form) or structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(number, logging.WARNING), stream=sys.stderr, format="%(message)s", force=True)
