"""The error of a dbt command."""

from __future__ import annotations


class BuildError(Exception):
    """dbt could not start or did not finish, or a node that a task ran on its own failed."""
