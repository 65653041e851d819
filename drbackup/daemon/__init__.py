"""``drbackupd``: the service that looks what is due and does it. It and the command alone exit."""
