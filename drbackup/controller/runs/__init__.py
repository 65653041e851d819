"""What every run shares: its lease, its agent session, the answers to its agent's requests, its job's specification."""
