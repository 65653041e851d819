"""One installation: its folder, keys and policies, how it is made and how it is opened."""
