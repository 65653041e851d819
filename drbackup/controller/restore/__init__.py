"""Restores: one point, or the systems of a city in the order of their dependencies."""
