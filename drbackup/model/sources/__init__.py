"""The kinds of source, as a policy describes them: what the rest of the program asks instead of which kind it is."""
