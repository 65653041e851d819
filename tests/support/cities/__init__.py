"""Installations and vaults with known data."""
