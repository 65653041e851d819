"""Writing: plain contents are cut, named, compressed and sealed, and uploaded in packs."""
