"""The vault's format v1: cut, seal, pack, tree, record. ``docs/vault-format.md`` describes the bytes for a stranger.

Everything here only ever adds objects. Whoever writes can't read back; whoever stores can't open.
"""
