"""Options whose value is a length of time or a rate, written as in a policy."""

from __future__ import annotations

from datetime import timedelta

import click

from drbackup.model.quantities import parse_bandwidth, parse_duration


def read_age(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    """An option's value as a length of time, from ``12h`` or ``7d``; None when it is left out. Raises BadParameter."""
    try:
        return None if value is None else parse_duration(value)
    except ValueError as bad:
        raise click.BadParameter(str(bad)) from None


def read_rate(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int:
    """An option's value in bytes a second, from ``50MB/s``; 0, no limit, when it is left out. Raises BadParameter."""
    try:
        return 0 if value is None else parse_bandwidth(value)
    except ValueError as bad:
        raise click.BadParameter(str(bad)) from None
