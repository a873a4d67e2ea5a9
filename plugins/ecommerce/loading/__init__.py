"""The only code that writes `raw` and `ops`: one load of one source, in one transaction."""

from ecommerce.loading.load import LoadResult, Reader, RunIdentity, load

__all__ = ["LoadResult", "Reader", "RunIdentity", "load"]
