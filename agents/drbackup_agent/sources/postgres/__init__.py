"""PostgreSQL databases: one snapshot, a stream for each table, restored with roles and order."""
