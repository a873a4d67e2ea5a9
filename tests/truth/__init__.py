"""The marts against what the generated shop has on purpose: `make truth` prints each effect, put in and found."""
