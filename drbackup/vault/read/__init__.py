"""Reading: what is needed of stored packs is fetched in ranges, opened and handed over as plain contents."""
