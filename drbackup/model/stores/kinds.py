"""Every kind of store that an inventory may name, in one list, in the order of the reference.

A new kind needs a model beside this module, a line in :data:`STORE_PLACES`, and a package in :mod:`drbackup.stores`.
``docs/stores.md`` says how to add one.
"""

from __future__ import annotations

from drbackup.model.stores.base import StorePlace
from drbackup.model.stores.directory import DirectoryPlace
from drbackup.model.stores.s3 import S3Place

STORE_PLACES: list[type[StorePlace]] = [DirectoryPlace, S3Place]
