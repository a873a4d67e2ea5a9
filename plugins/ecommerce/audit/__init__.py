"""Checks between build and publication; `include/quality/checks.yml` configures them, a class a kind of check."""
