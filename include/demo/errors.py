"""The error of the demo stack."""


class StackError(Exception):
    """The stack cannot do what the user asked for; the message names the problem, the place and the next step."""
