"""The way from the gateway to a server: which one, on which connection, and when to send again."""
