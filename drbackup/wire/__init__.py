"""Versioned messages between the controller and an agent, and their framing on a byte stream."""
