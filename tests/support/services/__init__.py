"""Real servers that tests start, each with its fixtures."""
