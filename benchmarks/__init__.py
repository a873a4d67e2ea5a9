"""Measure the figures that the documentation quotes; each is a ratio to a reference measured in the same run."""
