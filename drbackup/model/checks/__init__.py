"""The kinds of check, as a policy asks them. The rest of the program asks a kind, not which kind it is."""
