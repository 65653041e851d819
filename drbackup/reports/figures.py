"""Times, ages and sizes as a person reads them. Pure: the clock and the zone are parameters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from drbackup.reports.gettext import _

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int) -> str:
    """A number of bytes in binary units: ``3.4 MiB``."""
    value = float(count)
    for unit in _UNITS:
        if abs(value) < 1024 or unit == _UNITS[-1]:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("the last unit always fits")


def span(length: timedelta) -> str:
    """A length of time in at most two units: ``45 s``, ``12 min``, ``3 h 20 min``, ``5 d``."""
    seconds = length.total_seconds()
    if seconds < 0:
        return "-" + span(-length)
    if seconds < 10 and seconds != int(seconds):
        return _("{n} s").format(n=f"{seconds:.1f}")
    if seconds < 120:
        return _("{n} s").format(n=int(seconds))
    minutes = int(seconds // 60)
    if minutes < 120 and minutes != 60:
        return _("{n} min").format(n=minutes)
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        whole = _("{n} h").format(n=hours)
        return whole + " " + _("{n} min").format(n=minutes) if minutes and hours < 10 else whole
    return _("{n} d").format(n=hours // 24)


def age(then: datetime, now: datetime) -> str:
    """How long ago ``then`` was at ``now``: ``12 min ago``; for the future ``in 12 min``."""
    gone = now - then
    if gone < timedelta(seconds=-1):
        return _("in {span}").format(span=span(-gone))
    if gone < timedelta(seconds=1):
        return _("just now")
    return _("{span} ago").format(span=span(timedelta(seconds=int(gone.total_seconds()))))


def local(then: datetime, zone: tzinfo) -> str:
    """The instant in ``zone``, to the second: ``2026-11-23 14:00:00``."""
    return then.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def iso(then: datetime) -> str:
    """The instant as every ``--json`` document writes it: UTC, ISO 8601, milliseconds, ``Z``."""
    return then.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
