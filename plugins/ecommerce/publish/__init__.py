"""Bring what was built and audited to `marts`, in one transaction, and back again."""
