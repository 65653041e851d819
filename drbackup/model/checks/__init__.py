"""The kinds of check, as a policy asks them: asked by the rest of the program instead of which kind it is."""
