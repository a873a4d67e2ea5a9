"""The errors of the demo stack."""


class StackError(Exception):
    """The stack cannot do what the user asked for; the message names the problem, the place and the next step."""


class NotAllowed(StackError):
    """Airflow does not let this user do that."""
