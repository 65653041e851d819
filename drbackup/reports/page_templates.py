"""The templates of all pages. Every value is escaped, and a missing one raises jinja2's UndefinedError."""

from __future__ import annotations

import jinja2

PAGE_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("drbackup.reports"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
