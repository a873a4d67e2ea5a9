"""dbt on the module's warehouse."""

from tests.integration.histories.conftest import dbt

__all__ = ["dbt"]
