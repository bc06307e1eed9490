"""JSON documents under keys."""
