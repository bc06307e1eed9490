"""The sample server's revisions."""
