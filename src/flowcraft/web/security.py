"""Who may do what: tokens, the user's own hook, this machine; and what other sites may not do."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import ipaddress
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from flowcraft.ports.clock import Clock
from flowcraft.web.problems import HttpProblem
from flowcraft.web.reading import is_json

SHORTEST_TOKEN: Final = 16
"""Characters that a token has at least: nobody is to find one by trying."""

COOKIE: Final = "flowcraft_session"
SESSION_SECONDS: Final = 12 * 3_600
CUSTOM_HEADER: Final = "x-flowcraft"
"""A header that pages of other sites cannot send without being asked whether they may."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

FORWARDING: Final = frozenset(
    {
        "cdn-loop",
        "cf-connecting-ip",
        "client-ip",
        "forwarded",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-real-ip",
    }
)
FORWARDING_PREFIX: Final = "x-forwarded"
"""Headers of proxies: behind one, whoever is connected is not who asks."""

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{0,5})?")

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Headers of every answer."""


@dataclass(frozen=True, slots=True)
class User:
    """Who asks.

    Attributes:
        name: What they are called; it is shown, and in the log.
        read_only: Whether they may look and change nothing.
    """

    name: str
    read_only: bool = False


Auth = Callable[[Request], Awaitable["User | str | None"]]
"""Says who asks: a user, or the name of one who may do anything, or ``None`` for nobody."""


class Gate:
    """Lets requests in, or refuses them.

    Args:
        token: What has to be brought; ``None`` without one.
        auth: Says who asks, instead of a token.
        read_only: Whether nobody may change anything.
        clock: The time.

    Raises:
        ValueError: Both are given, or the token is too short.
    """

    def __init__(
        self, token: str | None, auth: Auth | None, *, read_only: bool, clock: Clock
    ) -> None:
        if token is not None and auth is not None:
            raise ValueError("Give either a token or an auth hook, not both.")
        if token is not None and len(token) < SHORTEST_TOKEN:
            raise ValueError(
                f"The token has {len(token)} characters, and needs {SHORTEST_TOKEN} at least: make "
                "one with python -c 'import secrets; print(secrets.token_urlsafe(32))'."
            )
        if auth is not None and not callable(auth):
            raise TypeError(f"auth is an async function of a request, not {auth!r}.")
        self._token = token
        self._auth = auth
        self._read_only = read_only
        self._clock = clock

    @property
    def has_login(self) -> bool:
        """Whether people can log in with the token."""
        return self._token is not None

    @property
    def has_hook(self) -> bool:
        """Whether the user's own hook says who asks."""
        return self._auth is not None

    async def user_of(self, request: Request) -> User:
        """Who asks.

        Raises:
            HttpProblem: Nobody is known by what the request brings.
        """
        if self._auth is not None:
            found = self._auth(request)
            user = await found if inspect.isawaitable(found) else found
        elif self._token is not None:
            user = self._by_token(request)
        else:
            check_this_machine(request)
            check_own_page(request)
            user = User("local")
        if user is None:
            raise HttpProblem(
                "unauthorized", self._what_helps(), {"login": self.has_login}, self._challenge()
            )
        if isinstance(user, str):
            user = User(user)
        return User(user.name, user.read_only or self._read_only)

    def check_change(self, request: Request, user: User) -> None:
        """See that a request may change something.

        Raises:
            HttpProblem: It comes from another site, or who asks may only look.
        """
        check_same_site(request)
        check_origin(request)
        if not is_json(request) and CUSTOM_HEADER not in request.headers:
            raise HttpProblem(
                "not-json",
                "Send JSON with Content-Type: application/json; without a body send that header "
                "all the same, or X-Flowcraft: 1. Pages of other sites can send neither.",
            )
        if user.read_only:
            raise HttpProblem("read-only", f"'{user.name}' may look, and change nothing.")

    def _what_helps(self) -> str:
        if self._token is None:
            return "The application does not know who asks: log in there."
        return "Send the token, as Authorization: Bearer TOKEN, or log in at /login."

    def _challenge(self) -> dict[str, str]:
        return {} if self._token is None else {"WWW-Authenticate": 'Bearer realm="flowcraft"'}

    # -- tokens -----------------------------------------------------------------------------

    def _by_token(self, request: Request) -> User | None:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return User("token") if self.is_token(given.strip()) else None
        return User("session") if self.is_session(request.cookies.get(COOKIE, "")) else None

    def is_token(self, given: str) -> bool:
        """Whether a text is the token; it takes as long whatever the text is."""
        return self._token is not None and hmac.compare_digest(_digest(given), _digest(self._token))

    def new_session(self) -> str:
        """What a cookie holds of somebody who brought the token."""
        until = str(int(self._clock.now()) + SESSION_SECONDS)
        return f"{until}.{self._seal(until)}"

    def is_session(self, cookie: str) -> bool:
        """Whether a cookie is one of ours, and its time not over."""
        until, _, seal = cookie.partition(".")
        if not (until.isascii() and until.isdecimal() and len(until) < 16):
            return False
        is_ours = hmac.compare_digest(seal.encode(), self._seal(until).encode())
        return is_ours and int(until) > self._clock.now()

    def _seal(self, until: str) -> str:
        key = _digest(f"flowcraft session of {self._token}")
        return hmac.new(key, until.encode(), hashlib.sha256).hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


# --- this machine --------------------------------------------------------------------------


def check_this_machine(request: Request) -> None:
    """See that a request is of this machine, and meant for it.

    A name of another site that leads here (DNS rebinding) is in the Host header. A proxy has left
    its headers, or speaks HTTP/1.0, as nginx does unless it is told otherwise; one that does
    neither cannot be told from this machine, except by :func:`check_own_page`.

    Raises:
        HttpProblem: It is not.
    """
    client = request.client
    if client is None or not is_loopback(client.host):
        text = "Without a token only this machine is answered. Start it with a token."
        raise HttpProblem("forbidden", text)
    host = host_name(request.headers.get("host", ""))
    if not is_loopback(host):
        text = "Without a token only localhost is answered, not other names. Start it with a token."
        raise HttpProblem("bad-host", text)
    names = request.headers.keys()
    is_passed_on = any(n in FORWARDING or n.startswith(FORWARDING_PREFIX) for n in names)
    if is_passed_on or request.scope.get("http_version") == "1.0":
        text = "The request has come through a proxy. Start the application with a token."
        raise HttpProblem("forbidden", text)


def check_own_page(request: Request) -> None:
    """See that a request of a page is one of a page of this machine.

    A page that was loaded under another name says so in Origin or Referer, whatever a proxy has
    made of the Host header.

    Raises:
        HttpProblem: It is of another name.
    """
    for name in ("origin", "referer"):
        told = request.headers.get(name)
        if told is not None and not is_loopback(_page_host(told)):
            text = (
                "The page is not of localhost: a proxy has passed the request on, or another site "
                "has sent it. Start the application with a token."
            )
            raise HttpProblem("forbidden", text)


def _page_host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def host_name(header: str) -> str:
    """The name or address in a Host header, without the port; empty if it is none."""
    found = _HOST.fullmatch(header)
    return "" if found is None else found[1].strip("[]")


# --- other sites ---------------------------------------------------------------------------


def check_same_site(request: Request) -> None:
    """See that no page of another site has sent a request, as far as its browser says.

    Raises:
        HttpProblem: It has.
    """
    site = request.headers.get("sec-fetch-site", "none").lower()
    if site not in ("none", "same-origin"):
        raise HttpProblem("cross-site", "A page of another site has sent this request.")


def check_origin(request: Request) -> None:
    """See that the page that sent a request is of this origin, if one did.

    The scheme is left aside: behind a proxy that ends TLS it is not known here.

    Raises:
        HttpProblem: It is of another one.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return
    try:
        of_page = _place(urlsplit(origin).netloc, urlsplit(origin).scheme)
        own = _place(request.headers.get("host", ""), urlsplit(origin).scheme)
    except ValueError:
        of_page, own = ("", None), ("?", None)
    if of_page != own or not own[0]:
        raise HttpProblem("cross-site", "A page of another origin has sent this request.")


def _place(netloc: str, scheme: str) -> tuple[str, int | None]:
    parts = urlsplit(f"//{netloc}")
    default = {"http": 80, "https": 443}.get(scheme)
    return (parts.hostname or "").lower(), parts.port or default
