"""Pure decisions: policies, times, promises. No I/O, no clock, no randomness: they are parameters."""
