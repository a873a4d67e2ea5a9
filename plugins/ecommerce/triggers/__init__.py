"""The async halves of the sensors: what waits and judges in the triggerer, without a worker."""
