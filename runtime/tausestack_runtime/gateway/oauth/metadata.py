"""The documents by which clients find their way: of the authorization server, and of each resource."""

from __future__ import annotations

from typing import Any

from tausestack.access_tokens import Resource
from tausestack.scopes import RUNS_WRITE, SERVERS_MANAGE, TENANT_ADMIN, TOOLS_CALL, TOOLS_READ

SECRET_METHODS = ["client_secret_basic", "client_secret_post"]
USUAL_SCOPES = [TOOLS_READ, TOOLS_CALL, RUNS_WRITE]
"""What a client asks for at first; a 403 names what else it needs."""


def authorization_server(base: str) -> dict[str, Any]:
    """Return the metadata of the embedded authorization server, as RFC 8414 has it."""
    return {
        "issuer": base,
        "authorization_endpoint": f"{base}/oauth/authorize",
        "token_endpoint": f"{base}/oauth/token",
        "introspection_endpoint": f"{base}/oauth/introspect",
        "revocation_endpoint": f"{base}/oauth/revoke",
        "registration_endpoint": f"{base}/oauth/register",
        "jwks_uri": f"{base}/.well-known/jwks.json",
        "scopes_supported": [*USUAL_SCOPES, SERVERS_MANAGE, TENANT_ADMIN],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code",
            "refresh_token",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        "token_endpoint_auth_methods_supported": ["none", *SECRET_METHODS],
        "introspection_endpoint_auth_methods_supported": SECRET_METHODS,
        "revocation_endpoint_auth_methods_supported": ["none", *SECRET_METHODS],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
        "ui_locales_supported": ["es", "en"],
    }


def protected_resource(base: str, resource: Resource, issuer: str) -> dict[str, Any]:
    """Return the metadata of an endpoint, as RFC 9728 has it: the same whether there is such a tenant or not."""
    return {
        "resource": base + resource.path,
        "authorization_servers": [issuer],
        "scopes_supported": USUAL_SCOPES,
        "bearer_methods_supported": ["header"],
        "resource_name": resource.tenant if resource.server is None else f"{resource.server} · {resource.tenant}",
    }
