"""What can still be done about points that no other copy can mend: said wherever a command finds such damage."""

from __future__ import annotations

from collections.abc import Iterable

from drbackup.controller.catalog import Catalog
from drbackup.model.point import SourceName
from drbackup.reports.gettext import _


def untouched() -> str:
    """What is still safe when objects are damaged: what needs none of them. Nothing more was looked at."""
    return _("all points that need none of these objects")


def remaining(catalog: Catalog, points: Iterable[str]) -> str:
    """The next step for the points of these ids: their sources, backed up again, and their other points. Points that
    the catalog does not know are of nobody's source."""
    places = sorted(str(SourceName(*each)) for each in catalog.points.places(set(points)))
    if not places:
        return _("no point that the catalog knows needs them; look at each object named")
    words = _("drbackup backup {sources} stores again what the source still has; other points: drbackup points list")
    return words.format(sources=" ".join(places))
