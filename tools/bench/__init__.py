"""drbackup beside other engines on the same data; writes ``docs/performance.md``."""
