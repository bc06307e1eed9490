"""Servers that are processes of this machine: started in the sandbox, spoken to a line at a time."""
