"""The kinds of check, as a policy asks them.

The rest of the program uses their methods and never asks which kind it has.
"""
