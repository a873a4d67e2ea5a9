"""What is judged before a publication, by the settings of `include/quality/checks.yml`: a class a kind of check."""
