"""Removing what no kept point needs: survey, decide (:mod:`drbackup.model.collect`), act in two phases; making locks
last.
"""
