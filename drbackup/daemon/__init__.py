"""``drbackupd``: the service that starts what is due. Only it and the command line end the process."""
