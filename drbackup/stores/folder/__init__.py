"""A store in a folder: on a disk, on a mounted share, or in a test."""
