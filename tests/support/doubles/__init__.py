"""The other side of a conversation, true to its contract, small or hostile."""
