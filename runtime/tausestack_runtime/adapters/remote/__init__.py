"""Servers elsewhere that speak only earlier versions, over streamable HTTP."""
