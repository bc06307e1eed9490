"""The interactive API page: it reads the tenant's OpenAPI document with the visitor's own key."""

from __future__ import annotations

from importlib.resources import files

PAGE = files("tausestack_runtime.gateway.rest").joinpath("page.html").read_bytes()
"""The page; it holds nothing of any tenant, so it is the same for all and for none."""
