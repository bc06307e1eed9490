"""The REST doors, generated from the same tool schemas."""
