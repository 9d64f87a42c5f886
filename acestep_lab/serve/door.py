"""The door of a studio that others can reach: a token to come in, then a name for each browser. Knows no page.

The token comes in the address once (`/?token=…`) or is typed; from then on a cookie of this browser carries it. Cookies
are strict about other sites, so that no foreign page can use the studio in a visitor's name.
"""

from __future__ import annotations

import hmac
import secrets
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bokeh.server.auth_provider import AuthProvider
from tornado.web import RequestHandler

_KEY, _NAME = "acestep_lab_key", "acestep_lab_person"
_PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>acestep_lab</title>
<style>body{{margin:0;min-height:100vh;display:grid;place-items:center;background:#f6f5f1;color:#1c2229;font:16px/1.5 system-ui,sans-serif}}
form{{background:#fff;border:1px solid #e3e1db;border-radius:14px;padding:28px 32px;max-width:340px}}input,button{{font:inherit;padding:9px 12px;border-radius:9px;border:1px solid #d6d3ca;width:100%;box-sizing:border-box;margin-top:10px}}
button{{background:#0072b2;color:#fff;border:none;font-weight:600}}p{{margin:0}}.say{{color:#b84a00;margin-top:10px}}
@media (prefers-color-scheme:dark){{body{{background:#101317;color:#e8e6e1}}form{{background:#1a1e23;border-color:#30363d}}}}</style></head>
<body><form method="post" action="{action}"><p><strong>acestep_lab</strong></p><p>This studio asks for a token; whoever started it was told one.</p>
<input name="token" type="password" autocomplete="current-password" aria-label="Token" autofocus><button>Come in</button>{said}</form></body></html>"""


def matches(given: str | None, token: str) -> bool:
    """Whether a given token is the right one, in a time that says nothing of how near it was."""
    return bool(given) and hmac.compare_digest(str(given).encode(), token.encode())


class Door(AuthProvider):
    """Lets in who has the token."""

    def __init__(self, token: str) -> None:
        self._token = token
        super().__init__()

    @property
    def get_user(self) -> Any:
        return lambda handler: handler.get_cookie(_NAME) if matches(handler.get_cookie(_KEY), self._token) else None

    @property
    def login_url(self) -> str:
        return "/login"

    @property
    def login_handler(self) -> type[RequestHandler]:
        token = self._token

        class Login(RequestHandler):
            """The form, and what it does."""

            def get(self) -> None:
                asked = self.get_query_argument("next", "")  # the address that was asked for, with its ?token=…
                given = self.get_query_argument("token", "") or parse_qs(urlsplit(asked).query).get("token", [""])[0]
                self._let_in() if matches(given, token) else self._ask("That was not the token." if given else "")

            def post(self) -> None:
                given = self.get_body_argument("token", "")
                self._let_in() if matches(given, token) else self._ask("That was not the token.")

            def check_xsrf_cookie(self) -> None:
                """The token itself is what a foreign page cannot know."""

            def _ask(self, said: str) -> None:
                self.set_status(403 if said else 200)
                self.finish(
                    _PAGE.format(action="login", said=f'<p class="say" role="alert">{escape(said)}</p>' if said else "")
                )

            def _let_in(self) -> None:
                for name, value in ((_KEY, token), (_NAME, self.get_cookie(_NAME) or secrets.token_urlsafe(12))):
                    self.set_cookie(name, value, httponly=True, samesite="Strict", path="/", expires_days=30)
                self.redirect("./")

        return Login


def person(cookies: dict[str, str] | None) -> str:
    """Whose browser this is, by its cookie."""
    return str((cookies or {}).get(_NAME, ""))[:40]
