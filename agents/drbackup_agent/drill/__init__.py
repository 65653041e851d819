"""A drill on the drill host: sandbox, restored copies, checks, times. It measures and never judges."""
