"""The drbackup command: it reads the command line, calls the controller and prints the result."""
