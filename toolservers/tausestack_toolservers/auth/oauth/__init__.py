"""The authorization server: OAuth 2.1 for clients that act for a person, or for themselves."""
