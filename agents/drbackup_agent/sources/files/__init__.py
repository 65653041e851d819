"""Directory trees: walked, read once when they changed, restored through handles."""
