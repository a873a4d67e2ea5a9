"""The demo stack: a stand-in for what a user has, with the same connections as production."""
