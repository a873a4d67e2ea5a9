"""The only code that writes `raw` and `ops`: one load of one source, in one transaction."""

from ecommerce.loading.ledger import RunIdentity, reach_back
from ecommerce.loading.load import LoadResult, Reader, load

__all__ = ["LoadResult", "Reader", "RunIdentity", "load", "reach_back"]
