"""`python -m tausestack_registry`: the registry alone."""

from tausestack_registry.server import server

if __name__ == "__main__":
    server.main()
