"""Publish the marts that were built and checked, in one transaction; roll a publication back."""
