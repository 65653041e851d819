"""Drills at the controller: the choice of points, the run, the signed statement, and what the catalog keeps of it."""
