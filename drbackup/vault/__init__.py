"""The vault's format, version 1: how content is cut, sealed, packed, listed in trees and committed by records.

``docs/vault-format.md`` describes the bytes for somebody who has to read them without this program.

Nothing here changes or removes an object. A writer can't read back what it wrote, and a store can't open what it keeps.
"""
