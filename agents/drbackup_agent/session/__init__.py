"""The agent's end of one conversation: its link, what goes up, what comes down, how fast, and as whom."""
