"""What can go wrong with the demo stack."""


class StackError(Exception):
    """The stack cannot do what was asked; the sentence says what, where, and what to do next."""
