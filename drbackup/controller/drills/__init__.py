"""Drills at the controller: which points, the run, the verdict's record, and what of it the catalog learns."""
