"""A collect as a person reads it: for each source what goes and why the rest stays, for each store what becomes free.

Pure: it makes rich tables and ``--json`` documents from values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from typing import Any

from rich.table import Table
from rich.text import Text

from drbackup.model.collect import Act, CollectPlan, DecisionReason, PackDecision, PointDecision, Why
from drbackup.model.point import digest_of
from drbackup.reports.figures import iso, local, size
from drbackup.reports.gettext import _
from drbackup.reports.layout import foldable
from drbackup.reports.shortened import rest
from drbackup.reports.tables import plain_table, right
from drbackup.system.instants import from_ns, from_ns_or_none

NAMED = 12  # of each source at most so many of the points that go are named


def why_word(why: Why) -> str:
    """A reason in the reader's language."""
    return {
        Why.HELD: _("held"),
        Why.KEPT: _("kept by policy"),
        Why.NEWEST: _("newest of its source"),
        Why.ELSEWHERE: _("copy in a store not collected now"),
        Why.GROUP: _("member of a kept group"),
        Why.LOCKED: _("locked"),
        Why.YOUNG: _("younger than the grace"),
        Why.BUSY: _("its agent has an open session"),
        Why.CONDEMNED: _("condemned, within the grace"),
        Why.UNREAD: _("a record can't be read"),
        Why.TELLS: _("index of packs that stay"),
        Why.NEEDED: _("needed by a point"),
        Why.EXPIRED: _("no keep rule covers it"),
        Why.UNNEEDED: _("needed by no point"),
        Why.SPARSE: _("mostly unused"),
    }[why]


# --- points -----------------------------------------------------------------------------------------------------------


def points_table(plan: CollectPlan, zone: tzinfo) -> Table:
    """A table with one row for each source: how many points go, how many stay, and why those stay."""
    titles = (_("Source"), _("Points"), _("Go"), _("Stay"), _("Why they stay"))
    table = foldable(right(plain_table(*titles), 1, 2, 3), 4)
    for source, decisions in sorted(_by_source(plan.points).items()):
        go = sum(1 for each in decisions if each.goes)
        reasons = [each.reasons[0] for each in decisions if not each.goes]
        gone = Text(str(go), style="bold yellow" if go else "dim")
        table.add_row(source, str(len(decisions)), gone, str(len(decisions) - go), _counted(reasons, zone))
    return table


def going_lines(plan: CollectPlan, zone: tzinfo) -> Iterable[Text]:
    """A line for each point that goes, by source, the oldest first; at most 12 of a source, then how many more."""
    for source, decisions in sorted(_by_source(plan.going).items()):
        for each in decisions[:NAMED]:
            line = Text(f"  − {each.point.short}", style="yellow")
            line.append(f"  {source}  {local(each.point.pinned_at, zone)}  {why_word(each.reasons[0].why)}")
            yield line
        if len(decisions) > NAMED:
            yield Text(f"  {source}: {rest(len(decisions) - NAMED)}", style="dim")


def _by_source(decisions: Sequence[PointDecision]) -> dict[str, list[PointDecision]]:
    found: dict[str, list[PointDecision]] = {}
    for each in sorted(decisions, key=lambda each: (each.point.pinned_at, each.point.id)):
        found.setdefault(str(each.point.source_name), []).append(each)
    return found


def _counted(reasons: Sequence[DecisionReason], zone: tzinfo) -> str:
    """How often each reason occurs, with its last end: ``kept by policy 12, locked 3 (until 2027-01-04 12:00:00)``."""
    counts = Counter(reason.why for reason in reasons)
    ends = {why: max(reason.until_ns for reason in reasons if reason.why is why) for why in counts}
    parts = []
    for why, count in counts.most_common():
        end = _(" (until {time})").format(time=local(from_ns(ends[why]), zone)) if ends[why] else ""
        parts.append(f"{why_word(why)} {count}{end}")
    return ", ".join(parts)


# --- packs ------------------------------------------------------------------------------------------------------------


def packs_table(plan: CollectPlan, zone: tzinfo) -> Table:
    """A table with one row for each store: packs to erase and condemn now, to retire, and those that stay and why."""
    titles = (_("Store"), _("Packs"), _("Erase now"), _("Condemn now"), _("Retire"), _("Unneeded, but stays"))
    table = foldable(right(plain_table(*titles), 1, 2, 3, 4), 5)
    for store, decisions in sorted(_by_store(plan.packs).items()):
        waiting = [
            each.reason for each in decisions if each.act is Act.STAY and each.reason.why not in (Why.NEEDED, Why.TELLS)
        ]
        acts = [_weighed([each for each in decisions if each.act is act]) for act in (Act.ERASE, Act.CONDEMN)]
        retired = str(sum(1 for each in decisions if each.act is Act.RETIRE))
        table.add_row(store, _weighed(decisions), *acts, retired, _counted(waiting, zone))
    return table


def _by_store(decisions: Sequence[PackDecision]) -> dict[str, list[PackDecision]]:
    found: dict[str, list[PackDecision]] = {}
    for each in decisions:
        found.setdefault(each.copy.store, []).append(each)
    return found


def _weighed(decisions: Sequence[PackDecision]) -> str:
    return f"{len(decisions)} · {size(sum(each.copy.size for each in decisions))}" if decisions else "0"


# --- --json -----------------------------------------------------------------------------------------------------------


def plan_document(plan: CollectPlan) -> dict[str, Any]:
    """The whole plan for ``--json``, sizes in bytes. Packs that stay because a point needs them are only counted."""
    return {
        "points": [_point(each) for each in plan.points],
        "stores": {store: _store(decisions) for store, decisions in sorted(_by_store(plan.packs).items())},
        "freed_bytes": plan.freed,
        "freed_later_bytes": plan.freed_later,
    }


def _point(each: PointDecision) -> dict[str, Any]:
    point = each.point
    return {
        "id": point.id,
        "system": point.system,
        "source": point.source,
        "pinned_at": iso(point.pinned_at),
        "goes": each.goes,
        "reasons": [_reason(reason) for reason in each.reasons],
    }


def _reason(reason: DecisionReason) -> dict[str, Any]:
    return {"why": reason.why, "detail": reason.detail, "until": _instant(from_ns_or_none(reason.until_ns))}


def _instant(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _store(decisions: Sequence[PackDecision]) -> dict[str, Any]:
    told = [each for each in decisions if each.act is not Act.STAY or each.reason.why is not Why.NEEDED]
    return {
        "packs": len(decisions),
        "bytes": sum(each.copy.size for each in decisions),
        "needed": len(decisions) - len(told),
        "others": [
            {
                "domain": each.copy.domain,
                "pack": f"{each.copy.kind}/{digest_of(each.copy.pack).hex()}",
                "bytes": each.copy.size,
                "act": each.act,
                **_reason(each.reason),
            }
            for each in told
        ],
    }
