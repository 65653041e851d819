"""Every kind of store an inventory may name, in one list, in the order of the reference.

A new kind is its model beside this module, a line in :data:`STORE_PLACES`, and its room in :mod:`drbackup.stores`
(``docs/stores.md``: to add a kind).
"""

from __future__ import annotations

from drbackup.model.stores.base import StorePlace
from drbackup.model.stores.directory import DirectoryPlace
from drbackup.model.stores.s3 import S3Place

STORE_PLACES: list[type[StorePlace]] = [DirectoryPlace, S3Place]
