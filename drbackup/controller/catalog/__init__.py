"""The controller's database: runs, points, packs, chunks, schedules, drills, recoveries."""

from drbackup.controller.catalog.catalog import Catalog

__all__ = ["Catalog"]
