"""What can go wrong, each with a sentence that says what, where, and what to do next."""

from __future__ import annotations


class WarehouseError(Exception):
    """Base of every error that this package raises on purpose."""


class WindowError(WarehouseError):
    """The requested window or sources make no sense; nothing has been read."""


class SourceError(WarehouseError):
    """A source could not be read: no connection, a missing table or column, an API that refuses."""


class SchemaDrift(SourceError):
    """A source's table lost a column or gave one another type; `raw` was not touched."""


class EmptySource(SourceError):
    """A whole-table source came back without a single row, which would delete every key it holds."""


class QuarantineOverflow(WarehouseError):
    """More than the source's share of rows was refused; the load was rolled back whole."""


class LoaderFenced(WarehouseError):
    """This loader was declared dead or lost its lock; what it read was rolled back."""


class LeaseLost(WarehouseError):
    """This run no longer holds the right to build and publish."""


class PublishError(WarehouseError):
    """A mart cannot be merged into the published one."""


class RollbackError(WarehouseError):
    """There is no way back to that publication; nothing was rolled back."""


class CheckSettingsError(WarehouseError):
    """`include/quality/checks.yml` cannot be read."""


class CheckError(WarehouseError):
    """A check could not come to a judgement."""
