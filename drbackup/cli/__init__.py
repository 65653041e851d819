"""The drbackup command: reads the words, calls the controller, prints the result."""
