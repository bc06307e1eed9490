"""`python -m kit_jobs`."""

from kit_jobs.server import server

server.main()
