"""The kinds of store, as the inventory describes them.

The rest of the program uses their methods and never asks which kind it has.
"""
