"""``python -m tests.longlife``: a thousand days, a million chunks, a million entries; writes ``docs/performance.md``.

--days N        simulated days (0: leave that part of the page as it is)
--million N     chunks and entries of the second part (0: leave that part as it is)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.longlife.city import LongCity
from tests.longlife.life import Day, growth, live
from tests.longlife.scale import CHUNKS_IN_A_PACK, CatalogScale, TreeScale, fill, grow
from tools.bench import page, plot

ROOT = Path(__file__).resolve().parents[2]
PLOT = ROOT / "docs" / "long-life.svg"
KEEP = "daily: 14, weekly: 4, monthly: 6"
_SHOWN: tuple[tuple[str, str, Callable[[Day], float]], ...] = (
    ("stored, MB", "stored", lambda day: day.stored / 1e6),
    ("what the points hold, MB", "needed", lambda day: day.needed / 1e6),
    ("stored by one backup, kB", "written", lambda day: day.written / 1e3),
    ("S3 requests of a backup", "requests", lambda day: day.requests),
    ("SQL steps of a backup", "steps", lambda day: day.steps * 10),
    ("CPU of a backup, ms", "cpu", lambda day: day.cpu * 1e3),
    ("SQL steps of `points list`", "list", lambda day: day.list_steps * 10),
    ("packs one point names", "packs", lambda day: day.packs_in_point),
    ("points kept", "points", lambda day: day.points),
    ("chunks in the catalog", "chunks", lambda day: day.chunks),
    ("catalog, kB", "catalog", lambda day: day.catalog / 1e3),
)
_COLLECTS: tuple[tuple[str, Callable[[Day], float]], ...] = (
    ("requests", lambda day: day.collect_requests),
    ("SQL steps", lambda day: day.collect_steps * 10),
)
_DRAWN = ("stored", "steps", "list", "packs", "catalog")


def life_page(days: Sequence[Day]) -> str:
    """The table of one long life, at some of its days."""
    marks = sorted({1, *(len(days) * part // 10 for part in (1, 2, 4, 6, 8, 10))})
    head = ["after day", *map(str, marks), "last quarter ÷ the one before"]
    lines = []
    for name, _, value in _SHOWN:
        # A mean of a few days: single days wander with what changed, and with the week's collect.
        shown = [_mean([value(day) for day in days[max(1, mark - 7) : mark] or days[:1]]) for mark in marks]
        lines.append([name, *(f"{number:,.0f}" for number in shown), f"{growth(days, value):.2f}"])
    collects = [day for day in days if day.collect_requests]
    quarter = max(1, len(collects) // 4)
    late, before = collects[-quarter:], collects[-2 * quarter : -quarter] or collects[:1]
    for name, each in _COLLECTS:
        ratio = _mean([each(day) for day in late]) / (_mean([each(day) for day in before]) or 1)
        shown = [_mean([each(day) for day in collects if day in days[:mark]][-4:]) for mark in marks]
        lines.append([f"{name} of a collect", *(f"{number:,.0f}" for number in shown), f"{ratio:.2f}"])
    said = "“What the points hold” counts every different content of all kept points once, uncompressed."
    said = f"Retention: {KEEP}. {said}"
    return f"{page.table(head, lines)}\n\n{said}"


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def scale_page(catalogs: Sequence[CatalogScale], tree: TreeScale) -> str:
    """What was measured, and what it makes for ten terabytes or ten million files."""
    small, large = catalogs[0], catalogs[-1]
    chunks, files = 10_000_000, 10_000_000
    packs = chunks // CHUNKS_IN_A_PACK
    measured = page.table(
        ["measured", f"{small.chunks:,} chunks", f"{large.chunks:,} chunks"],
        [
            ["catalog, bytes a chunk", f"{small.bytes_a_chunk:.0f}", f"{large.bytes_a_chunk:.0f}"],
            ["remembering a chunk, CPU µs", f"{small.insert_a_chunk * 1e6:.0f}", f"{large.insert_a_chunk * 1e6:.0f}"],
            [
                f"“which of these {large.question} are missing?”, CPU ms",
                f"{small.locate * 1e3:.1f}",
                f"{large.locate * 1e3:.1f}",
            ],
            ["… SQL steps", f"{small.steps * 10:,}", f"{large.steps * 10:,}"],
        ],
    )
    trees = page.table(
        [f"measured, {tree.entries:,} entries", ""],
        [
            [
                f"writer's process at its peak with 1,000, {tree.entries:,} and {3 * tree.entries:,} entries, MB",
                " · ".join(f"{peak / 1e6:.0f}" for peak in (tree.ground, tree.memory, tree.thrice)),
            ],
            ["tree, bytes an entry", f"{tree.tree_an_entry:.0f}"],
            ["CPU an entry, µs", f"{tree.cpu_an_entry * 1e6:.0f}"],
            ["tree of a day without a change, bytes", f"{tree.again:,}"],
            ["tree of a day with 1 % changed in one place, MB", f"{tree.folder / 1e6:.1f}"],
            ["tree of a day with 1 % changed at random, MB", f"{tree.hundredth / 1e6:.1f}"],
        ],
    )
    paper = page.table(
        ["on paper", "formula", ""],
        [
            ["chunks of 10 TB", "bytes ÷ 1 MB", f"{chunks:,}"],
            ["packs", "chunks ÷ 40", f"{packs:,}"],
            ["catalog, MB", f"chunks × {large.bytes_a_chunk:.0f} B", f"{chunks * large.bytes_a_chunk / 1e6:,.0f}"],
            ["first backup, PUT requests", "packs + 3", f"{packs + 3:,}"],
            ["presence before each commit, LIST requests", "packs ÷ 1,000", f"{packs // 1000:,}"],
            ["one record, MB", "packs × 33 B", f"{packs * 33 / 1e6:.1f}"],
            [
                "tree of 10 million files, MB",
                f"files × {tree.tree_an_entry:.0f} B",
                f"{files * tree.tree_an_entry / 1e6:,.0f}",
            ],
            [
                "agent's tree work, CPU s",
                f"files × {tree.cpu_an_entry * 1e6:.0f} µs",
                f"{files * tree.cpu_an_entry:,.0f}",
            ],
        ],
    )
    return f"{measured}\n\n{trees}\n\n{paper}"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--days", type=int, default=1000)
    words.add_argument("--million", type=int, default=1_000_000)
    asked = words.parse_args()
    if asked.days:
        with tempfile.TemporaryDirectory(prefix="drbackup-longlife-") as folder:
            city = LongCity(Path(folder) / "city", keep=KEEP)
            days = live(city, asked.days, _tell)
            for point in city.points():
                city.require_whole(point)
            page.put("long life", life_page(days))
            drawn = [
                plot.Curve(name.replace("`", ""), [value(day) for day in days])
                for name, key, value in _SHOWN
                if key in _DRAWN
            ]
            PLOT.write_text(plot.curves(f"{asked.days:,} daily points of one source", "day", asked.days, drawn))
            city.close()
    if asked.million:
        with tempfile.TemporaryDirectory(prefix="drbackup-longlife-") as folder:
            sizes = (asked.million // 10, asked.million)
            catalogs = []
            for size in sizes:
                (Path(folder) / str(size)).mkdir()
                catalogs.append(fill(Path(folder) / str(size), size))
            page.put("scale", scale_page(catalogs, grow(asked.million)))


def _tell(day: int) -> None:
    if day % 100 == 99:
        print(f"day {day + 1}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
