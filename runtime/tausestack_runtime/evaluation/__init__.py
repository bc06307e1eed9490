"""Evaluating agents: cases are run against a running stack, and what came of them is judged."""
