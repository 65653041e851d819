"""The backup centre's side: what is due, what ran, what was kept, and the daemon that does it."""
