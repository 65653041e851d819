"""A store in a folder: of a disk, a mounted share, or a test."""
