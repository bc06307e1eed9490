"""Sessions with hosted servers: one owner task each, callers send it work."""
