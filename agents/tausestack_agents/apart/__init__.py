"""Processes apart, in which agents' own code runs, one run at a time in each: how one ends is that run's doing."""
