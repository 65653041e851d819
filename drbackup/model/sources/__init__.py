"""The kinds of source, as a policy describes them.

The rest of the program uses their methods and never asks which kind it has.
"""
