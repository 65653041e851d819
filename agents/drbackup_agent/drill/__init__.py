"""A drill on the drill host: sandbox, restored copies, checks, times. It measures; the controller judges."""
