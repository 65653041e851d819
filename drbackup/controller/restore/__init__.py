"""Bringing points back: one by one, or a city in dependency order."""
