"""From plain contents to stored packs: cut, named, compressed, sealed, uploaded."""
