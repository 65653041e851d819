"""The kind ``files``: directory trees, of which only changed files are read, restored through directory handles."""
