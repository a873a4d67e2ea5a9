"""The tables of the generated shop, one module per subject, each drawn from random numbers of its own."""
