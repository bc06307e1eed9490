"""`python -m tausestack_toolservers.auth`."""

from tausestack_toolservers.auth.server import server

if __name__ == "__main__":
    server.main()
