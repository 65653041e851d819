"""What can still be done about points that no other copy can repair. Every command that finds such damage says it."""

from __future__ import annotations

from collections.abc import Iterable

from drbackup.controller.catalog import Catalog
from drbackup.model.point import SourceName
from drbackup.reports.gettext import _


def untouched() -> str:
    """What is still safe when objects are damaged: the points that need none of them. No other check was made."""
    return _("all points that need none of these objects")


def remaining(catalog: Catalog, points: Iterable[str]) -> str:
    """The next step for the points with these ids: a backup of their sources, and a list of other points.

    Points that the catalog does not know are left out, because their source is not known. When none is left, the text
    says to look at each object.
    """
    places = sorted(str(SourceName(*each)) for each in catalog.points.places(set(points)))
    if not places:
        return _("no point that the catalog knows needs them; look at each object named")
    words = _("drbackup backup {sources} stores again what the source still has; other points: drbackup points list")
    return words.format(sources=" ".join(places))
