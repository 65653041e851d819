"""The kinds of source, as a policy describes them. The rest of the program asks a kind, not which kind it is."""
