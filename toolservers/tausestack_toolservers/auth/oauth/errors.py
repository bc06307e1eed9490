"""What OAuth says went wrong."""

from __future__ import annotations


class OAuthError(Exception):
    """An error in OAuth's own words, with a sentence for developers that quotes nothing of the request."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status
