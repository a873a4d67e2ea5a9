"""The warehouse of the pages' tests, loaded, built and published: what an erasure begins with."""

from tests.integration.published_shop import connection, dbt, dsn_of, filled, loader

__all__ = ["connection", "dbt", "dsn_of", "filled", "loader"]
