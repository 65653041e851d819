"""What an agent can copy, and how each kind of source is restored."""
