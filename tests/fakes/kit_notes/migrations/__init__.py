"""The notes' schema over time."""
