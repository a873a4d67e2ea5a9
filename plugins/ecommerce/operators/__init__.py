"""The tasks of the DAGs that are not dbt's."""

from ecommerce.operators.claim import ClaimDirtyDates
from ecommerce.operators.extract import ExtractSource
from ecommerce.operators.refresh_marts import RefreshMarts
from ecommerce.operators.replay_quarantine import ReplayQuarantine
from ecommerce.operators.resolve_window import ResolveWindow
from ecommerce.operators.rollback_publication import RollbackPublication
from ecommerce.operators.verify_warehouse import VerifyWarehouse

__all__ = [
    "ClaimDirtyDates",
    "ExtractSource",
    "RefreshMarts",
    "ReplayQuarantine",
    "ResolveWindow",
    "RollbackPublication",
    "VerifyWarehouse",
]
