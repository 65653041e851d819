"""A small city to protect, burn and bring back: four bureaus' registers, an enterprise base joined from them, scans.

Everything in it is made up, the same on every run, and holds no personal data. The city only makes and looks at data;
protecting it is done by the ``drbackup`` command itself.
"""
