"""A server that offers all that the official conformance suite asks for, to clients of every version.

Nobody has to be known to it: it takes every client, from this machine alone.
"""
