"""What people read: screens, tables and reports made from the catalog and the policies."""
