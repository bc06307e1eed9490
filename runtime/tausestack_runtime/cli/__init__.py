"""The command line: a client of the gateway like any other, and what starts a stack."""
