"""The login: the token once, a cookie from then on."""

from __future__ import annotations

from html import escape
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from flowcraft.web.problems import HttpProblem
from flowcraft.web.reading import read_body
from flowcraft.web.security import (
    COOKIE,
    SESSION_SECONDS,
    Gate,
    check_origin,
    check_same_site,
)

MOST_BYTES: Final = 10_000

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · Flowcraft</title>
<base href="{base}">
<link rel="stylesheet" href="static/login.css">
</head>
<body>
<main>
<h1>Flowcraft</h1>
{remark}
<form method="post" action="login">
<input type="hidden" name="next" value="{next}">
<label>Token <input type="password" name="token" autocomplete="current-password" required
 autofocus></label>
<button type="submit">Log in</button>
</form>
</main>
</body>
</html>
"""


async def log_in(request: Request, gate: Gate, base: str) -> Response:
    """The page that asks for the token, and what it sends."""
    if request.method == "GET":
        goal = local_path(request.query_params.get("next", ""), base)
        if gate.is_session(request.cookies.get(COOKIE, "")):
            return RedirectResponse(goal, 303)
        return _page(base, goal)
    check_same_site(request)
    check_origin(request)
    given = await _form(request)
    goal = local_path(given.get("next", ""), base)
    if not gate.is_token(given.get("token", "").strip()):
        return _page(base, goal, "This is not the token.", 401)
    answer = RedirectResponse(goal, 303)
    answer.set_cookie(
        COOKIE,
        gate.new_session(),
        max_age=SESSION_SECONDS,
        path=base,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


async def log_out(request: Request, base: str) -> Response:
    """Forget the cookie."""
    check_same_site(request)
    check_origin(request)
    answer = RedirectResponse(f"{base}login", 303)
    answer.delete_cookie(COOKIE, path=base, httponly=True, samesite="strict")
    return answer


async def _form(request: Request) -> dict[str, str]:
    body = await read_body(request, MOST_BYTES)
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=10)
    except (UnicodeDecodeError, ValueError) as error:
        raise HttpProblem("bad-request", "The form cannot be read.") from error
    return {name: values[0] for name, values in fields.items()}


def _page(base: str, goal: str, remark: str = "", status: int = 200) -> Response:
    told = f'<p role="alert">{escape(remark)}</p>' if remark else ""
    text = _PAGE.format(base=escape(base), next=escape(goal), remark=told)
    return HTMLResponse(text, status)


def local_path(wanted: str, base: str) -> str:
    """Where to go after the login: a path of this application, never another site."""
    is_path = wanted.startswith(base) and not wanted.startswith(("//", "/\\"))
    is_plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    return wanted if is_path and is_plain else base
