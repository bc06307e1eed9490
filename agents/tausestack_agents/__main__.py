"""`python -m tausestack_agents` serves the agents server."""

from tausestack_agents.server import server

if __name__ == "__main__":
    server.main()
