"""The warehouse of the pages' tests, loaded, built and published: what an erasure begins with."""

from tests.integration.shop_pages.conftest import dsn_of, filled

__all__ = ["dsn_of", "filled"]
