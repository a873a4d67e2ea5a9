"""What can go wrong with a dbt command."""

from __future__ import annotations


class BuildError(Exception):
    """dbt could not begin or broke off, or a node that a task ran on its own failed."""
