"""What the generator invents, a module a subject; each has a stream of chance of its own."""
