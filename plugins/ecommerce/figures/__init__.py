"""The key figures of a day, and what moved them: for the page *Today*, the page *Why*, and the digest."""
