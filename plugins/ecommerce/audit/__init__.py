"""Checks between the build and the publication: `include/quality/checks.yml` configures them, a class a kind."""
