"""The daemon's log: for a person, as JSON lines, or in the journal's form. Secrets are masked in every form.

Refuses nothing. Everything goes to stderr, because stdout is for results.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

from drbackup.system.masking import masked

Form = Literal["console", "json", "journald"]
FORMS: tuple[Form, ...] = ("console", "json", "journald")
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def configure_libraries(level: str, stream: TextIO | None = None) -> None:
    """The logging of libraries goes to stderr: from ``level`` up, but never below warnings.

    That is all a short command needs. Raises KeyError for a level that logging does not know.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    out = stream or sys.stderr
    logging.basicConfig(level=max(number, logging.WARNING), stream=out, format="%(message)s", force=True)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """The logging of this program goes to stderr, from ``level`` up, in one of :data:`FORMS`.

    May be called again. Raises KeyError for a level that logging does not know.
    """
    import structlog  # a tenth of the start of a command that does not log

    configure_libraries(level, stream)
    number = logging.getLevelNamesMapping()[level.upper()]
    out = stream or sys.stderr
    renderer: Any = structlog.dev.ConsoleRenderer(colors=out.isatty())
    if form == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    elif form == "journald":
        renderer = _journal
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # Asked for at each use: a service that is given another stderr, as tests do, must not write to the closed one.
        logger_factory=lambda *_: structlog.PrintLogger(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def _mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """The event with its texts masked. A key like ``password`` loses its value, whatever that is."""
    return {
        key: "***"
        if any(word in key.lower() for word in ("password", "secret", "token", "seed"))
        else masked(value)
        if isinstance(value, str)
        else value
        for key, value in event.items()
    }


def _journal(_logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """One JSON line behind the priority that the journal reads: ``<4>{…}``. The journal has its own clock."""
    from structlog.processors import JSONRenderer

    event.pop("timestamp", None)
    line = JSONRenderer(ensure_ascii=False, default=str)(_logger, method, event)
    return f"<{_PRIORITY.get(method, 6)}>{line if isinstance(line, str) else line.decode()}"
