"""Deletes what the warehouse has recorded about itself and nothing reads any more (docs/retention.md)."""
