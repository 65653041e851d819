"""What all runs share: the lease, the agent session, the answers to an agent's requests, the job's specification."""
