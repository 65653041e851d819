"""The kinds of store, as the inventory describes them. The rest of the program asks a kind, not which kind it is."""
