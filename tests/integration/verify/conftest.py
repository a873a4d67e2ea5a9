"""dbt on the module's warehouse, as for the histories that a verification is tried on."""

from tests.integration.histories.conftest import dbt

__all__ = ["dbt"]
