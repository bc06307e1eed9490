"""The gateway's side of OAuth: where tokens come from, and which are taken."""
