"""`python -m tausestack_toolservers.storage`."""

from tausestack_toolservers.storage.server import server

if __name__ == "__main__":
    server.main()
