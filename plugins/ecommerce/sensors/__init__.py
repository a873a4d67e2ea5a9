"""The audit between build and publish: each check writes `ops.check_result`, and a `fail` publishes nothing."""

from ecommerce.quality.settings import read_checks
from ecommerce.sensors.quality_check import QualityCheck

__all__ = ["QualityCheck", "read_checks"]
