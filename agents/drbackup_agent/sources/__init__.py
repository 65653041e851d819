"""What an agent can copy, and how each kind is brought back."""
