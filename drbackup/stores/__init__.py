"""Immutable bytes under names: a folder or an S3 bucket. No store ever overwrites or deletes on its own."""
