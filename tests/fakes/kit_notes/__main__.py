"""`python -m kit_notes`."""

from kit_notes.server import server

server.main()
