"""`python -m tausestack_toolservers.colombia`."""

from tausestack_toolservers.colombia.server import server

if __name__ == "__main__":
    server.main()
