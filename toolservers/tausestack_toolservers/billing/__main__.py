"""`python -m tausestack_toolservers.billing`."""

from tausestack_toolservers.billing.server import server

if __name__ == "__main__":
    server.main()
