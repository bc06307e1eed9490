"""The two pages that people see: who asks for what, with the name and the password; and why something can't be."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from string import Template
from urllib.parse import urlsplit

from starlette.responses import HTMLResponse

from tausestack_toolservers.auth.oauth.requests import Asked

LANGUAGES = ("es", "en")

_WORDS = {
    "es": {
        "title": "Autorizar el acceso",
        "asks": "quiere actuar en su nombre en",
        "vouched": "Se identifica por",
        "unvouched": "Nadie responde por este nombre: autorice solo si usted mismo inició la conexión.",
        "back": "Al terminar, el navegador vuelve a",
        "server": "solo en el servidor",
        "may": "Podrá, hasta donde llegue su propio rol:",
        "user": "Usuario",
        "password": "Contraseña",
        "allow": "Iniciar sesión y autorizar",
        "deny": "Rechazar",
        "wrong": "El usuario o la contraseña no son correctos.",
        "wait": "Demasiados intentos: espere un momento.",
        "nothing": "Su rol no permite nada de lo que se pide.",
        "error": "No se puede continuar",
        "tools:read": "ver herramientas, uso y auditoría",
        "tools:call": "llamar a todas las herramientas",
        "servers:manage": "instalar y quitar servidores",
        "runs:write": "ejecutar agentes",
        "tenant:admin": "administrar usuarios, claves y aprobaciones",
        "tool": "llamar a",
    },
    "en": {
        "title": "Authorize access",
        "asks": "wants to act for you at",
        "vouched": "It is identified by",
        "unvouched": "Nobody vouches for this name: authorize only if you started the connection yourself.",
        "back": "Afterwards the browser returns to",
        "server": "only at the server",
        "may": "As far as your own role goes, it will be able to:",
        "user": "User",
        "password": "Password",
        "allow": "Sign in and authorize",
        "deny": "Deny",
        "wrong": "The user or the password is wrong.",
        "wait": "Too many attempts: wait a moment.",
        "nothing": "Your role allows nothing of what is asked for.",
        "error": "This can't go on",
        "tools:read": "see tools, usage and audit",
        "tools:call": "call every tool",
        "servers:manage": "install and remove servers",
        "runs:write": "run agents",
        "tenant:admin": "administer users, keys and approvals",
        "tool": "call",
    },
}

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:28rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}h1{font-size:1.4rem}label{display:block;margin:.8rem 0}input{display:block;width:100%;"
    "box-sizing:border-box;padding:.5rem;font:inherit}button{font:inherit;padding:.5rem 1rem;margin:.5rem .5rem 0 0}"
    ".warn{border-left:4px solid #b45309;padding-left:.8rem}.error{color:#b00020}code{overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#111}.error{color:#ff8a80}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_PAGE = Template(
    '<!doctype html><html lang="$lang"><head><meta charset="utf-8"><title>$title · TauseStack</title>'
    '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
    "<style>$style</style></head><body><main><h1>$title</h1>$body</main></body></html>"
)
_CONSENT = Template(
    "<p><strong>$client</strong> $asks <strong>$tenant</strong>$server.</p>$vouched"
    "<p>$back_words <code>$back</code></p><p>$may</p><ul>$scopes</ul>$wrong"
    '<form method="post" action="/oauth/authorize" autocomplete="on">'
    '<input type="hidden" name="request" value="$request">'
    '<label>$user_words<input name="username" value="$user" autocomplete="username" maxlength="128" autofocus></label>'
    '<label>$password_words<input name="password" type="password" autocomplete="current-password" maxlength="256">'
    '</label><button name="decision" value="allow">$allow</button>'
    '<button name="decision" value="deny">$deny</button></form>'
)


def language_of(asked: str | None, accepted: str | None) -> str:
    """Return the language of a page: as `ui_locales` asks, else as the browser's `Accept-Language` has it."""
    wanted = [*(asked or "").split(), *(part.partition(";")[0].strip() for part in (accepted or "").split(","))]
    known = (each.partition("-")[0].lower() for each in wanted)
    return next((each for each in known if each in LANGUAGES), "es")


def consent(asked: Asked, sealed: str, *, user: str = "", wrong: str = "") -> HTMLResponse:
    """Return the page that asks a person; `wrong` names what was wrong with the last answer."""
    words = _WORDS[asked.language]
    resource = asked.resource
    vouched = f"<p>{words['vouched']} <code>{escape(asked.site)}</code></p>" if asked.site else ""
    body = _CONSENT.substitute(
        client=escape(asked.client_name),
        asks=words["asks"],
        tenant=escape(resource.tenant),
        server=f" ({words['server']} <strong>{escape(resource.server)}</strong>)" if resource.server else "",
        vouched=vouched or f'<p class="warn">{words["unvouched"]}</p>',
        back_words=words["back"],
        back=escape(_place(asked.redirect_uri)),
        may=words["may"],
        scopes="".join(f"<li>{escape(_scope(words, scope))}</li>" for scope in asked.scopes),
        wrong=f'<p class="error" role="alert">{words[wrong]}</p>' if wrong else "",
        request=escape(sealed),
        user_words=words["user"],
        user=escape(user),
        password_words=words["password"],
        allow=words["allow"],
        deny=words["deny"],
    )
    # A browser holds a form to this for the redirect that answers it, too.
    return _page(asked.language, words["title"], body, 401 if wrong else 200, f"'self' {_place(asked.redirect_uri)}")


def refusal(language: str, reason: str, status: int) -> HTMLResponse:
    """Return the page that says why a request can't be shown to anybody, nor sent back to where it says it is from."""
    words = _WORDS[language]
    return _page(language, words["error"], f'<p class="error">{escape(reason)}</p>', status, "'none'")


def _page(language: str, title: str, body: str, status: int, form_action: str) -> HTMLResponse:
    html = _PAGE.substitute(lang=language, title=title, style=_STYLE, body=body)
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {form_action}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    return HTMLResponse(
        html,
        status,
        {
            "content-security-policy": policy,
            "x-frame-options": "DENY",
            "x-content-type-options": "nosniff",
            # Not "no-referrer", with which browsers send the form from the origin "null".
            "referrer-policy": "same-origin",
            "cache-control": "no-store",
        },
    )


def _place(uri: str) -> str:
    """Return an address as far as a policy and a person need it; none of it can end a policy's directive."""
    parts = urlsplit(uri)
    place = f"{parts.scheme}://{parts.netloc}" if parts.scheme in {"http", "https"} else f"{parts.scheme}:"
    return place.replace(";", "%3B").replace(",", "%2C")


def _scope(words: dict[str, str], scope: str) -> str:
    return words[scope] if scope in words else f"{words['tool']} {scope.removeprefix('tools:call:')}"
