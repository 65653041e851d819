"""The measured parts of ``docs/performance.md``: tables between markers, so that the prose around them is kept."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median

from tools.bench import plot
from tools.bench.figures import (
    BOUND_GOAL,
    EXTRA,
    MEMORY_GOAL,
    OURS,
    REQUESTS_GOAL,
    STORED_GOAL,
    Row,
    peak_memory,
    rows,
    smallest_peer,
)
from tools.bench.results import Results

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"


def write(results: Results) -> None:
    """Write every table anew, and the plot."""
    found = rows(results)
    PLOT.write_text(plot.bars(found, "How many times as fast as the fastest peer (red: the goal)"))
    put("ratios", ratio_table(found))
    put("machine", machine_table(results))
    put("stored", stored_table(found))
    put("requests", request_table(found))
    put("memory", memory_table(results))
    put("bounds", bound_table(results, found))


def put(name: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``. Raises ``ValueError`` without them."""
    whole = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(whole):
        raise ValueError(f"{page.name} has no markers for {name}")
    page.write_text(pattern.sub(lambda found: f"{found[1]}{text.rstrip()}\n{found[2]}", whole), encoding="utf-8")


def table(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    if not lines:
        return "Not measured yet."
    rule = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


def ratio_table(found: list[Row]) -> str:
    peers = sorted({name for row in found for name in row.steps} - {OURS}, key=lambda name: (name in EXTRA, name))
    head = ["wall s (CPU s)", OURS, *peers, "ratio to the fastest", "goal", "", "noise"]
    lines = []
    for row in found:
        noise = max(step.other for taken in row.steps.values() for step in taken)
        spread = f" ({min(row.ratios):.2f} – {max(row.ratios):.2f})" if len(row.ratios) > 1 else ""
        times = [_times(row, name) for name in (OURS, *peers)]
        verdict = "✓" if row.reached else "✗"
        lines.append([_name(row), *times, f"**{row.ratio:.2f}**{spread}", f"{row.goal:g}", verdict, f"{noise:.0%}"])
    if not found:
        return table(head, lines)
    reached = sum(row.reached for row in found)
    rounds = sorted({len(row.ratios) for row in found})
    said = f"{reached} of {len(found)} rows reach their goal; rounds a row: {', '.join(map(str, rounds))}."
    return f"{table(head, lines)}\n\n{said} Ratios are medians of the rounds' own ratios."


def _times(row: Row, engine: str) -> str:
    wall, cpu = row.middle(engine, lambda step: step.wall), row.middle(engine, lambda step: step.cpu)
    return "–" if wall is None or cpu is None else f"{wall:.1f} ({cpu:.1f})"


def _name(row: Row) -> str:
    return f"{row.set}{' on S3' if row.place == 's3' else ''}, {row.operation}"


def stored_table(found: list[Row]) -> str:
    """What lies in the store after the first and after the second day."""
    lines = []
    for row in found:
        if row.operation not in ("first", "day 2") or row.place != "local":
            continue
        ours, smallest = row.middle(OURS, lambda step: step.stored), smallest_peer(row)
        if ours is None or smallest is None:
            continue
        peers = [name for name in row.steps if name != OURS]
        sizes = ", ".join(f"{name} {_megabytes(row, name)}" for name in sorted(peers))
        ratio = ours / smallest[1]
        verdict = "✓" if ratio <= STORED_GOAL else "✗"
        lines.append([_name(row), _megabytes(row, OURS), sizes, f"**{ratio:.3f}**", f"≤ {STORED_GOAL}", verdict])
    return table(["stored MB", OURS, "peers", "to the smallest", "goal", ""], lines)


def _megabytes(row: Row, engine: str) -> str:
    return f"{(row.middle(engine, lambda step: step.stored) or 0) / 1e6:,.1f}"


def request_table(found: list[Row]) -> str:
    """S3 requests of one step, ours and restic's."""
    lines = []
    for row in found:
        ours, theirs = (row.middle(name, lambda step: step.requests) for name in (OURS, "restic"))
        if row.place != "s3" or not ours or not theirs:
            continue
        verdict = "✓" if ours / theirs <= REQUESTS_GOAL else "✗"
        lines.append([_name(row), f"{ours:.0f}", f"{theirs:.0f}", f"**{ours / theirs:.2f}**", "≤ 0.5", verdict])
    return table(["requests", OURS, "restic", "ratio", "goal", ""], lines)


def memory_table(results: Results) -> str:
    """The largest process of any step, and the agent alone."""
    agent = max((step.helper for step in results.steps if step.engine == OURS), default=0)
    together = max((step.together for step in results.steps if step.engine == OURS), default=0)
    verdict = "✓" if agent <= MEMORY_GOAL else "✗"
    lines = [
        ["drbackup's agent", f"{agent / 2**20:.0f}", f"≤ {MEMORY_GOAL >> 20}", verdict],
        ["drbackup, all processes at one instant", f"{together / 2**20:.0f}", "", ""],
    ]
    for engine in sorted({step.engine for step in results.steps} - {OURS}):
        lines.append([engine, f"{peak_memory(results, engine) / 2**20:.0f}", "", ""])
    return table(["peak memory, MiB", "largest process", "goal", ""], lines)


def bound_table(results: Results, found: list[Row]) -> str:
    """How far drbackup is from what other tools take for a part of the work."""
    lines = []
    for bound in results.bounds:
        row = next((r for r in found if (r.set, r.place, r.operation) == (bound.set, "local", bound.operation)), None)
        ours = row.middle(OURS, lambda step: step.wall) if row else None
        if ours is None:
            continue
        aim = BOUND_GOAL.get((bound.set, bound.operation))
        aim = aim if bound.what.startswith("tar") else None
        goal = f"≤ {aim:g} {'✓' if ours / bound.wall <= aim else '✗'}" if aim else ""
        what = bound.what.replace("|", "\\|")  # else it would end the column
        size = f", {bound.size / 1e6:,.0f} MB" if bound.size else ""
        lines.append(
            [
                f"{bound.set}, {bound.operation}",
                f"{ours:.1f}",
                f"{what}: {bound.wall:.2f} ({bound.cpu:.2f}){size}",
                f"{ours / bound.wall:.2f}",
                goal,
            ]
        )
    return table(["wall s", OURS, "bound: wall s (CPU s)", "times the bound", "goal"], lines)


def machine_table(results: Results) -> str:
    lines = [[name, value] for name, value in results.about.items()]
    lines += [[name, version] for name, version in results.versions.items()]
    for facts in results.sets:
        kind = "" if facts.given else "made by `make bench`, "
        size = (
            f"{facts.files:,} files, {facts.size / 1e6:,.0f} MB; day 2: {facts.changed / 1e6:,.0f} MB in changed files"
        )
        lines.append([f"set `{facts.name}`", f"{kind}{size}"])
    noise = [step.other for step in results.steps if not step.failed]
    if noise:
        unquiet = sum(step.waited < 0 for step in results.steps)
        said = f"median {median(noise):.1%}, most {max(noise):.0%} of the machine; never quiet before {unquiet} steps"
        lines.append(["used by others meanwhile", said])
    failed = [f"{step.engine}, {step.set}, {step.operation}" for step in results.steps if step.failed]
    lines += [["failed", "; ".join(failed)]] if failed else []
    lines += [["not measured", "; ".join(results.skipped)]] if results.skipped else []
    return table(["", ""], lines).replace("--:", "---")
