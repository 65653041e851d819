"""Small SVG pictures, written by hand: bars with goals, and curves. Readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tools.bench.figures import Row

_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#667}.t{font-weight:600;font-size:14px}.good{fill:#2a9d6f}"
    ".short{fill:#d9822b}.g{stroke:#c33;stroke-width:2}.axis{stroke:#99a;stroke-width:1}.faint{stroke:#99a3;}</style>"
)
COLOURS = ("#2a6fd9", "#d9822b", "#2a9d6f", "#a33bb5")


def bars(rows: Sequence[Row], title: str) -> str:
    """One bar a row: how many times as fast as the fastest peer; a red line marks its goal."""
    left, scale, high, top = 190, 95.0, 20, 54
    most = max([4.0, *(row.ratio for row in rows)])
    scale = min(scale, 520 / most)
    width, height = int(left + most * scale + 150), top + len(rows) * high + 24
    parts = [_head(width, height), f'<text class="t" x="10" y="22">{escape(title)}</text>']
    for times in range(int(most) + 1):
        x = left + times * scale
        parts.append(
            f'<line class="{"axis" if times == 1 else "faint"}" x1="{x}" y1="{top - 10}" x2="{x}" y2="{height - 20}"/>'
        )
        parts.append(f'<text x="{x}" y="{top - 14}" text-anchor="middle">{times}×</text>')
    for number, row in enumerate(rows):
        y = top + number * high
        name = f"{row.set}{' S3' if row.place == 's3' else ''} · {row.operation}"
        parts.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        kind = "good" if row.reached else "short"
        parts.append(
            f'<rect class="{kind}" x="{left}" y="{y + 3}" width="{row.ratio * scale:.1f}" height="{high - 6}"/>'
        )
        goal = left + row.goal * scale
        parts.append(f'<line class="g" x1="{goal:.1f}" y1="{y + 1}" x2="{goal:.1f}" y2="{y + high - 1}"/>')
        beside = left + max(row.ratio, row.goal) * scale + 6
        parts.append(f'<text x="{beside:.1f}" y="{y + 13}">{row.ratio:.2f}× {escape(row.fastest)}</text>')
    return "\n".join([*parts, "</svg>", ""])


@dataclass(frozen=True)
class Curve:
    """``values`` over the days; drawn in its own scale, whose top is named beside it."""

    name: str
    values: Sequence[float]
    unit: str = ""


def curves(title: str, x_name: str, x_most: int, several: Sequence[Curve]) -> str:
    """One small panel a curve, below each other, from zero to the curve's largest value."""
    width, panel, left = 720, 92, 60
    parts = [_head(width, 40 + panel * len(several) + 16), f'<text class="t" x="10" y="22">{escape(title)}</text>']
    for number, curve in enumerate(several):
        base = 40 + panel * number + panel - 24
        most = max(curve.values, default=0.0) or 1.0
        step = (width - left - 20) / max(1, len(curve.values) - 1)
        line = " ".join(
            f"{left + index * step:.1f},{base - value / most * (panel - 44):.1f}"
            for index, value in enumerate(curve.values)
        )
        parts.append(f'<line class="axis" x1="{left}" y1="{base}" x2="{width - 20}" y2="{base}"/>')
        parts.append(
            f'<polyline fill="none" stroke="{COLOURS[number % len(COLOURS)]}" stroke-width="1.6" points="{line}"/>'
        )
        parts.append(f'<text x="{left}" y="{base - panel + 38}">{escape(curve.name)}</text>')
        parts.append(
            f'<text x="{left - 6}" y="{base - panel + 52}" text-anchor="end">{_short(most)}{escape(curve.unit)}</text>'
        )
        parts.append(f'<text x="{left - 6}" y="{base}" text-anchor="end">0</text>')
    below = 40 + panel * len(several) + 8
    parts.append(f'<text x="{width - 20}" y="{below}" text-anchor="end">{escape(x_name)} 1 – {x_most:,}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _head(width: int, height: int) -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">{_STYLE}'
