"""Plan to the world: one protocol, a table of publishers, each reading back what it wrote."""
