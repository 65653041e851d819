"""The agent's side of one session: its link, uploads, downloads, identity, and what the controller may start."""
