"""A kind of source, of store and of check that the product does not have: each its rooms, and a line in its lists."""
