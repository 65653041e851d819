"""A thousand days of backups in minutes: what has to stay flat, counted."""
