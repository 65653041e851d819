"""Lengths of time and rates as options, written like in a policy."""

from __future__ import annotations

from datetime import timedelta

import click

from drbackup.model.quantities import parse_bandwidth, parse_duration


def read_age(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    """An option's callback: ``12h``, ``7d`` → a length of time; left out: None."""
    try:
        return None if value is None else parse_duration(value)
    except ValueError as bad:
        raise click.BadParameter(str(bad)) from None


def read_rate(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int:
    """An option's callback: ``50MB/s`` → bytes a second; left out: 0, no limit."""
    try:
        return 0 if value is None else parse_bandwidth(value)
    except ValueError as bad:
        raise click.BadParameter(str(bad)) from None
