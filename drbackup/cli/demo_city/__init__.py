"""A small city for the demo: four bureaus' registers, an enterprise base joined from them, and scanned files.

Everything in it is made up, the same on every run, and holds no personal data. The city only makes, destroys and
compares data. All backups and restores are done by the ``drbackup`` command itself.
"""
