"""The warehouse of the pages' tests, loaded, built and published: what must be the same after it was pruned."""

from tests.integration.published_shop import dsn_of, filled

__all__ = ["dsn_of", "filled"]
