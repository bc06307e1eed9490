"""The services of the house, each a server process of its own; none imports another."""
