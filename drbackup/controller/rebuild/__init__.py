"""The rebuild of a lost catalog, from the stores alone."""
