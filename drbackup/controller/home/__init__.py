"""One installation: its folder, keys and policies; how it is initialised and how it is opened."""
