"""A reader for strangers: it shares no code with drbackup and needs only the vault's description."""
