"""The kinds of store, as the inventory describes them: asked by the rest of the program instead of which kind it is."""
