"""A lost catalog, made anew from the stores alone."""
