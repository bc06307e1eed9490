"""A sample server whose tables have a history of several revisions."""
