"""drbackup: the disaster-tolerance backup system (容灾备份系统) for a city government.

``docs/architecture.md`` says what lives where.
"""

__version__ = "0.1.0"
