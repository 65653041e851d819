"""``drbackup points``: lists, shows, compares and holds recovery points, and lists what is in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import click
from rich.text import Text

from drbackup.cli.context import CliContext, JsonObject, pass_cli
from drbackup.cli.json_rows import JsonRows
from drbackup.cli.places import find_point, open_reader, split_place
from drbackup.errors import UsageError, say
from drbackup.model.point import Point
from drbackup.reports.figures import size
from drbackup.reports.gettext import _
from drbackup.reports.shortened import rest_by_limit
from drbackup.reports.tables import (
    CopyFacts,
    Damaged,
    changes,
    changes_table,
    copy_documents,
    entries_table,
    entry_document,
    facts_table,
    path_text,
    point_document,
    point_facts,
    points_table,
)
from drbackup.vault.tree import Entry

_ON_A_SCREEN, INSIDE_ON_A_SCREEN = 50, 1000  # rows, unless --limit says another number


@click.group()
def points() -> None:
    """List, show, compare and hold recovery points.

    A POINT is its id or a unique beginning of it; SYSTEM/SOURCE means the newest point of that source.
    """


@points.command("list")
@click.argument("place", metavar="[SYSTEM[/SOURCE]]", required=False, default="")
@click.option("--store", default="", help="Only points with a whole copy in this store.")
@click.option("--limit", type=click.IntRange(1), help=f"At most so many [{_ON_A_SCREEN}; all with --json].")
@pass_cli
def list_points(context: CliContext, place: str, store: str, limit: int | None) -> None:
    """List recovery points, newest first."""
    system, source = split_place(context, place) if place else ("", "")
    catalog = context.installation().catalog
    chosen = {"system": system, "source": source, "store": store}
    damaged = catalog.scrubs.damaged_points()
    if context.json:
        hurt: dict[str, list[str]] = {}
        inside = itertools.islice(catalog.points.list(**chosen), limit)
        rows = JsonRows(_told(inside, damaged, hurt))
        context.show({"points": rows, "damaged": hurt, "more": catalog.points.count(**chosen) - len(rows)})
        return
    found = catalog.points.newest(limit or _ON_A_SCREEN, **chosen)
    if not found:
        context.show({}, Text(_("no recovery points yet: run drbackup backup"), style="yellow"))
        return
    more = catalog.points.count(**chosen) - len(found)
    last = [Text(rest_by_limit(more), style="dim")] if more > 0 else []
    context.show({}, points_table(found, context.view(), damaged), *last)


def _told(found: Iterable[Point], damaged: Damaged, hurt: dict[str, list[str]]) -> Iterator[JsonObject]:
    """The points' documents, one by one. A damaged point's id and stores are added to ``hurt`` on the way."""
    for point in found:
        if point.id in damaged:
            hurt[point.id] = sorted(damaged[point.id])
        yield point_document(point)


@points.command()
@click.argument("point")
@pass_cli
def show(context: CliContext, point: str) -> None:
    """Show everything about one point."""
    found = find_point(context, point)
    scrubs = context.installation().catalog.scrubs
    damaged = scrubs.damaged_points().get(found.id, frozenset())
    copies = [CopyFacts(store, read, store in damaged) for store, read in scrubs.of_point(found.id).items()]
    document = {"point": point_document(found), "read_back": copy_documents(copies)}
    context.show(document, facts_table(point_facts(found, context.view(), copies)))


@points.command()
@click.argument("point")
@click.argument("path", required=False, default="")
@click.option(
    "--limit", type=click.IntRange(1), help=f"At most so many entries [{INSIDE_ON_A_SCREEN}; all with --json]."
)
@pass_cli
def ls(context: CliContext, point: str, path: str, limit: int | None) -> None:
    """List what a point holds, below PATH if given. Needs only the catalog key."""
    found = find_point(context, point)
    inside = entries_of(context, found, path)
    first = next(inside, None)
    if path and first is None:
        raise UsageError(
            say("point {point} holds nothing at {path}", point=found.short, path=path),
            hint=say("drbackup points ls {point}", point=found.short),
        )
    inside = inside if first is None else itertools.chain([first], inside)
    if context.json:
        rows = JsonRows(map(entry_document, itertools.islice(inside, limit)))
        context.show({"point": found.id, "entries": rows, "more": next(inside, None) is not None})
        return
    listed = list(itertools.islice(inside, limit or INSIDE_ON_A_SCREEN))
    last = [Text(_rest_inside(found, path, len(listed)), style="dim")] if next(inside, None) is not None else []
    context.show({}, entries_table(listed, context.zone()), *last)


def _rest_inside(point: Point, path: str, listed: int) -> str:
    """The last line of a shortened list. Below a path the number of entries is not known without reading them all."""
    if path:
        return _("… and more: --limit N shows more, --json all")
    return rest_by_limit(point.totals.entries - listed)


@points.command()
@click.argument("before")
@click.argument("after")
@click.argument("path", required=False, default="")
@pass_cli
def diff(context: CliContext, before: str, after: str, path: str) -> None:
    """Show what changed between two points: + added, - removed, ~ content, = attributes only."""
    old, new = find_point(context, before), find_point(context, after)
    found = changes(entries_of(context, old, path), entries_of(context, new, path))
    document = {
        "before": old.id,
        "after": new.id,
        "changes": [
            {
                "path": path_text(change.path),
                "how": change.how,
                "before_bytes": change.before if change.before >= 0 else None,
                "after_bytes": change.after if change.after >= 0 else None,
            }
            for change in found
        ],
    }
    counts = {how: sum(1 for change in found if change.how == how) for how in ("added", "removed", "content")}
    grown = new.totals.bytes - old.totals.bytes
    summary = _("{added} added, {removed} removed, {content} changed; {size} in all").format(
        **counts, size=("+" if grown >= 0 else "") + size(grown)
    )
    context.show(document, *([changes_table(found)] if found else []), Text(summary, style="bold"))


@points.command()
@click.argument("point")
@click.option("--reason", help="Why nobody may let it expire; shown in every list.")
@click.option("--release", is_flag=True, help="Let it expire again by its policy.")
@pass_cli
def hold(context: CliContext, point: str, reason: str | None, release: bool) -> None:
    """Hold a point: retention never removes it until it is released."""
    if bool(reason) == release:
        raise UsageError("say either --reason TEXT or --release")
    found = find_point(context, point)
    context.installation().catalog.points.hold(found.id, reason or "")
    text = _("{point} is held: {reason}") if reason else _("{point} is released")
    context.show({"point": found.id, "held": reason or ""}, Text(text.format(point=found.short, reason=reason)))


def entries_of(context: CliContext, point: Point, path: str) -> Iterator[Entry]:
    """The entries of a point at and below ``path`` (empty: all), read with the catalog key.

    Raises what :func:`~drbackup.cli.places.open_reader` raises.
    """
    reader = open_reader(context, point)
    return reader.entries(path.strip("/").encode("utf-8", errors="surrogateescape"))
