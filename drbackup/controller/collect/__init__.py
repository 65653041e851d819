"""Removing what no kept point needs, in two phases, and renewing the locks of what is needed.

Every collect surveys the stores, decides (:mod:`drbackup.model.collect`), and only then acts.
"""
