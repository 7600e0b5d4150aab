"""What keeps everybody else out: a token, the Host header, the origin of requests, and what a page may load."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nnactive_ext.errors import NnActiveError
from nnactive_ext.pages.templates import render

LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No other origin, no inline script, no frame."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # the address may still hold the token; without any, forms would send no origin
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def new_token() -> str:
    """A secret of 256 bits for an address."""
    return secrets.token_urlsafe(32)


def check_host(host: str, public: bool) -> None:
    """Refuse to serve other machines unless that was asked for.

    Raises:
        NnActiveError: ``host`` is not this machine's loopback address, and ``public`` is not set.
    """
    if host not in LOOPBACK and not public:
        raise NnActiveError(
            f"-host {host}: other machines could then reach the server. Whoever has its address and token sees the images and "
            "can hand in answers, and nothing on the way is encrypted. From another machine, better use the default host and "
            "an SSH tunnel: ssh -L PORT:127.0.0.1:PORT THIS_MACHINE. To serve the network anyway, add --public."
        )


@dataclass(frozen=True)
class Guard:
    """Wraps an application: only requests that name this machine and carry the token, or its cookie, reach it.

    ``host``: the address that the server listens on.
    """

    app: ASGIApp
    token: str
    host: str = LOOPBACK[0]
    names: Collection[str] = field(default=LOOPBACK)

    @property
    def cookie(self) -> str:
        """Its name: cookies know no ports, and a machine may have several servers."""
        return f"nnactive_{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["type"] == "websocket":
            if self._refusal(scope, headers):
                await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before it is accepted: status 403
            else:
                await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
                if self._given(scope):  # the address holds the token
                    MutableHeaders(scope=message)["referrer-policy"] = "no-referrer"
                if "nnactive_policy" in scope:  # of a page that is not ours
                    MutableHeaders(scope=message)["content-security-policy"] = scope["nnactive_policy"]
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal:
            await PlainTextResponse(refusal, 403)(scope, receive, guarded)
        elif self._given(scope):
            # No redirect: a browser that came from another site would not send the new SameSite=Strict cookie along with it.
            response = HTMLResponse(render("serve", "entered.html"))
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
            await response(scope, receive, guarded)
        else:
            await self.app(scope, receive, guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> str:
        if not self._known(headers.get("host", "")):
            return "This server does not answer to that host name."
        if not (self._given(scope) or self._carries(headers)):
            return "Open the address that nnactive_annotate serve printed; it holds the token that is missing here."
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        other = origin is not None and _place(origin) != headers.get("host")
        if scope["type"] == "websocket":
            # No other protection of a browser holds for them; every browser sends an origin along.
            return "Only pages of this server may connect." if origin is None or other else ""
        if scope["method"] not in ("GET", "HEAD") and (other or site != "same-origin"):
            return "Only pages of this server may change anything."
        if site in ("same-site", "cross-site") and headers.get("sec-fetch-mode", "navigate") != "navigate":
            return "Only pages of this server may load this."  # to a cookie, another port of this machine is the same site
        return ""

    def _known(self, host: str) -> bool:
        """Whether a Host header names this machine; the port may be that of a tunnel."""
        name = re.sub(r":\d+$", "", host).strip("[]").lower()
        if name and name in (*self.names, self.host.lower()):
            return True
        if self.host in LOOPBACK:
            return False
        # For the network: addresses cannot be pointed at another machine as names can; of names only this machine's own.
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in {socket.gethostname().lower(), socket.getfqdn().lower()}

    def _given(self, scope: Scope) -> bool:
        """Whether the address holds the token, as the one that was printed does."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return scope["type"] == "http" and scope["path"] == "/" and scope["method"] == "GET" and self._same(given)

    def _carries(self, headers: Headers) -> bool:
        # Cookies know no ports: those of other programs of this machine come along, well formed or not, and http.cookies
        # gives up on all of them where one is not.
        parts = [part.strip().partition("=") for line in headers.getlist("cookie") for part in line.split(";")]
        return any(self._same(value) for name, _, value in parts if name == self.cookie)

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _place(origin: str) -> str:
    """The host and port of an Origin header; empty where it has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
