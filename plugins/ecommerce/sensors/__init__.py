"""The audit between build and publish: each sensor writes `ops.check_result`, and a `fail` publishes nothing."""

from ecommerce.sensors.base import QualitySensor
from ecommerce.sensors.freshness import FreshnessSensor
from ecommerce.sensors.reconciliation import CoreReconciliationSensor, SourceReconciliationSensor
from ecommerce.sensors.volume import VolumeSensor

__all__ = ["CoreReconciliationSensor", "FreshnessSensor", "QualitySensor", "SourceReconciliationSensor", "VolumeSensor"]
