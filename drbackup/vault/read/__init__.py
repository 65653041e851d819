"""From stored packs to plain contents: what is needed, fetched in ranges, opened, handed over."""
