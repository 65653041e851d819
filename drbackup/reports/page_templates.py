"""How every page is made of its template: values are escaped, and one that is missing is an error, never a gap."""

from __future__ import annotations

import jinja2

PAGE_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("drbackup.reports"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
