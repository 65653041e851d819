"""A drill's phases as one inline SVG: a row for each source, a bar for each phase, a line where the RTO stopped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from drbackup.controller.drills.statement import PhaseSpan
from drbackup.model.words import Words
from drbackup.reports.bilingual import PHASES, length

COLOURS = {
    "locate": "#8ea3b8",
    "connect": "#c4b48a",
    "fetch": "#3f7fbf",
    "decrypt": "#7a5ea8",
    "restore": "#2f8f6b",
    "start": "#c98a1b",
    "check": "#b4552d",
    "wipe": "#9a9a9a",
}
_LEFT, _WIDTH, _ROW, _BAR = 150, 560, 30, 16


def draw(phases: Sequence[PhaseSpan], rto: float | None) -> str:
    """The timeline as SVG; empty when no phase was timed. All times, with ``rto``, are seconds from the declaration."""
    end = max((phase.end for phase in phases), default=0.0)
    if end <= 0:
        return ""
    rows = list(dict.fromkeys(phase.source for phase in phases))
    height = _ROW * len(rows) + 44
    scale = _WIDTH / end
    box = f"0 0 {_LEFT + _WIDTH + 20} {height}"
    parts = [f'<svg viewBox="{box}" role="img" aria-label="phases" xmlns="http://www.w3.org/2000/svg">']
    for number, name in enumerate(rows):
        top = number * _ROW + 8
        label = escape(name) if name else "全程 whole drill"
        parts.append(f'<text x="{_LEFT - 10}" y="{top + 12}" text-anchor="end" class="name">{label}</text>')
        parts.append(f'<line x1="{_LEFT}" y1="{top + 8}" x2="{_LEFT + _WIDTH}" y2="{top + 8}" class="rail"/>')
        for phase in phases:
            if phase.source == name:
                parts.append(_bar(phase, top, scale))
    parts.extend(_axis(end, scale, len(rows) * _ROW + 12, rto))
    return "".join((*parts, "</svg>"))


def legend(phases: Sequence[PhaseSpan]) -> list[tuple[str, Words, Words]]:
    """(colour, phase, summed length over all sources) of every phase that happened, in the order of PHASES."""
    found = []
    for key, words in PHASES.items():
        spans = [phase.end - phase.begin for phase in phases if phase.phase == key]
        if spans:
            found.append((COLOURS[key], words, length(sum(spans))))
    return found


def _bar(phase: PhaseSpan, top: int, scale: float) -> str:
    width = max((phase.end - phase.begin) * scale, 1.5)
    colour = COLOURS.get(phase.phase, "#666")
    said = escape(f"{phase.phase}: {phase.begin:.2f} – {phase.end:.2f} s")
    return (
        f'<rect x="{_LEFT + phase.begin * scale:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" '
        f'rx="2" fill="{colour}"><title>{said}</title></rect>'
    )


def _axis(end: float, scale: float, top: int, rto: float | None) -> list[str]:
    parts = [f'<line x1="{_LEFT}" y1="{top}" x2="{_LEFT + _WIDTH}" y2="{top}" class="axis"/>']
    marked = _LEFT + rto * scale if rto is not None and rto <= end else None
    for fraction in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + _WIDTH * fraction
        text = length(end * fraction).en if fraction else "0"
        parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + 4}" class="axis"/>')
        anchor = "end" if fraction == 1 else "middle"
        parts.append(f'<text x="{x:.1f}" y="{top + 18}" text-anchor="{anchor}" class="tick">{text}</text>')
    if marked is not None:
        parts.append(f'<line x1="{marked:.1f}" y1="0" x2="{marked:.1f}" y2="{top}" class="rto"/>')
        anchor = "end" if marked > _LEFT + _WIDTH / 2 else "start"
        shift = -4 if anchor == "end" else 4
        parts.append(f'<text x="{marked + shift:.1f}" y="{top - 3}" text-anchor="{anchor}" class="rto-name">RTO</text>')
    return parts
