"""Erases a customer: everything that says who it was, for good, while facts and sums stay."""
