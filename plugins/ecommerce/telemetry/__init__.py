"""What is told to the tools of a platform: metrics and lineage events. Off unless configured (docs/telemetry.md)."""
