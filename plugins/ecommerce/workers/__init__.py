"""Workers that start with everything imported, so that tasks start fast."""
