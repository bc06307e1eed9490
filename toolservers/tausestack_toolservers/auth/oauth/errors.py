"""What OAuth says went wrong."""

from __future__ import annotations


class OAuthError(Exception):
    """An error in OAuth's own words, with a sentence for developers that quotes nothing of the request."""

    def __init__(self, error: str, description: str, status: int = 400, *, subject: str = "", noted: str = "") -> None:
        """`subject` is whom it is about, `noted` what the ledger calls it; the client is told neither."""
        super().__init__(description)
        self.subject = subject
        self.noted = noted or error
        self.error = error
        self.description = description
        self.status = status
