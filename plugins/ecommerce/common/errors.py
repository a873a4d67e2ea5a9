"""The errors that this package raises; their messages tell what happened, where, and what to do next."""

from __future__ import annotations

from ecommerce.common.shown_text import without_values


class WarehouseError(Exception):
    """Base class of all errors that this package raises itself."""


def hide_values(error: BaseException | None) -> None:
    """Take the values of rows out of the texts of an error and of those behind it, which a task's log shows as well."""
    while error is not None:
        error.args = tuple(without_values(part) if isinstance(part, str) else part for part in error.args)
        error = error.__cause__ or error.__context__


class WindowError(WarehouseError):
    """The requested window or sources are invalid; nothing was read."""


class ShopError(WarehouseError):
    """
    The shop's profile (`include/shops/<name>/shop.yml`) or a template of it is wrong; nothing was loaded.

    To try again does not help: a person has to correct the file.
    """


class ManifestMissing(WarehouseError):
    """dbt has not parsed the project on this machine, so the DAG's tasks for its models cannot be made."""


class SourceError(WarehouseError):
    """A source could not be read: no connection, a missing table or column, an API that answers with an error."""


class SchemaDrift(SourceError):
    """A source's table lost a column, or a column has another type; `raw` was not changed."""


class MassRemoval(WarehouseError):
    """A load would remove more than half of what `raw` has of the source or of the window; `raw` was not changed."""


class QuarantineOverflow(WarehouseError):
    """Too many rows of a load were rejected (`Source.max_rejected_share`); the whole load was rolled back."""


class LoaderFenced(WarehouseError):
    """This load was marked as failed by another one, or lost its lock; it was rolled back."""


class LeaseLost(WarehouseError):
    """This run no longer holds the lease, without which it may not build or publish."""


class PublishError(WarehouseError):
    """A mart cannot be merged into the published one."""


class PreviewError(WarehouseError):
    """A change of the dbt project cannot be previewed; the warehouse was not changed."""


class RollbackError(WarehouseError):
    """The marts cannot be restored to that publication; nothing was rolled back."""


class HalfErased(WarehouseError):
    """An erasure was interrupted: until it is done, a load could store the customer under two keys."""


class ErasureError(WarehouseError):
    """A customer cannot be erased: there is no such customer; nothing was changed."""


class RetentionError(WarehouseError):
    """`include/retention.yml` has a mistake; nothing was pruned."""


class CheckSettingsError(WarehouseError):
    """`include/quality/checks.yml` cannot be read."""


class CheckError(WarehouseError):
    """A check could not be evaluated."""
