"""What links do: a program posts an answer, a person looks at a page and then sends one.

Looking changes nothing, whoever looks: programs that check mails follow every link in them.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from flowcraft.engine.answer_checks import answer_problems
from flowcraft.engine.answer_urls import NO_LINKS
from flowcraft.engine.client import FlowClient
from flowcraft.engine.linking import LinkedWait
from flowcraft.engine.links import LinkTarget, Purpose
from flowcraft.errors import (
    AlreadyAnswered,
    AnswerRefused,
    FlowcraftError,
    InvalidRunState,
    LinkExpired,
    LinkInvalid,
    NotWaitingYet,
    Problem,
    RunNotFound,
    SerializationError,
    StorageError,
)
from flowcraft.web.link_forms import Form, form_of, read_json, spoken
from flowcraft.web.link_replies import (
    Asked,
    BodyTooLarge,
    Refusal,
    Reply,
    Trouble,
    empty_reply,
    json_reply,
    notice_reply,
    page_reply,
    problem_reply,
)

logger = logging.getLogger("flowcraft.web")

MOST_FIELDS: Final = 200
RETRY_SECONDS: Final = 5

_KINDS: Final[Mapping[str, tuple[Purpose, str]]] = {
    "hooks": ("webhook", "POST, OPTIONS"),
    "approve": ("approval", "GET, HEAD, POST, OPTIONS"),
}
_GOOD: Final = frozenset({"accept", "approve", "confirm", "ok", "yes"})
_BAD: Final = frozenset({"cancel", "decline", "deny", "no", "refuse", "reject"})


class LinkPages:
    """Answers requests to links.

    Args:
        client: A client of the runs, which has links.

    Raises:
        FlowcraftError: It has none.
    """

    def __init__(self, client: FlowClient) -> None:
        if client.links is None:
            raise FlowcraftError(NO_LINKS)
        self._client = client
        self._host = urlsplit(client.links.base_url).netloc

    async def handle(self, asked: Asked) -> Reply:
        """Do what a request asks for; nothing is raised, whatever it holds."""
        purpose, allow = _KINDS.get(asked.kind, (None, ""))
        tell = notice_reply if purpose == "approval" else problem_reply
        try:
            if purpose is None:
                raise Refusal(_NO_LINK)
            if asked.method == "OPTIONS":
                return empty_reply(204, allow)
            if asked.method not in allow.split(", "):
                raise Refusal(_method(purpose, allow))
            target = self._target(asked.token, purpose)
            if asked.method == "POST":
                self._check_site(asked.headers)
            if purpose == "webhook":
                return await self._take_json(asked, target)
            if asked.method == "POST":
                return await self._take_form(asked, target)
            return await self._show(target)
        except Exception as error:
            return tell(_trouble(error))

    def _target(self, token: str, purpose: Purpose) -> LinkTarget:
        return self._client.read_link(token, purpose)

    def _check_site(self, headers: Mapping[str, str]) -> None:
        """Refuse what a page of another site has a browser send.

        Raises:
            Refusal: It is that.
        """
        site = headers.get("sec-fetch-site")
        origin = headers.get("origin")
        is_known = site is not None and site in ("same-origin", "none")
        if site is None:
            # A browser sends "null" where it tells nobody where it comes from, as it is asked to.
            hosts = (self._host, headers.get("host"))
            is_known = origin in (None, "null") or _host_of(origin or "") in hosts
        if not is_known:
            raise Refusal(_OTHER_SITE)

    # -- programs ---------------------------------------------------------------------------

    async def _take_json(self, asked: Asked, target: LinkTarget) -> Reply:
        if asked.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(_ENCODED)
        body = await asked.body()
        content_type = asked.headers.get("content-type", "")
        if body and not _is_json(content_type):
            raise Refusal(_NOT_JSON)
        try:
            output = read_json(body) if body else None
        except ValueError:
            raise Refusal(_MALFORMED) from None
        answer = await self._client.answer_by_link(target, output, action=asked.query.get("action"))
        return json_reply({"status": "taken", "repeated": answer.is_repeated})

    # -- people -----------------------------------------------------------------------------

    async def _show(self, target: LinkTarget) -> Reply:
        wait = await self._open_wait(target)
        return _form_page(wait, form_of(wait.schema))

    async def _open_wait(self, target: LinkTarget) -> LinkedWait:
        """The wait, if it can be answered.

        Raises:
            Refusal: It cannot.
        """
        wait = await self._client.look_at_link(target)
        if wait.standing == "answered":
            raise Refusal(_answered(wait))
        if wait.standing == "over":
            raise Refusal(_OVER)
        if wait.standing == "not yet":
            raise Refusal(_NOT_YET)
        return wait

    async def _take_form(self, asked: Asked, target: LinkTarget) -> Reply:
        content_type = asked.headers.get("content-type", "")
        if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise Refusal(_NOT_FORM)
        given = _form_values(await asked.body())
        wait = await self._client.look_at_link(target)
        form = form_of(wait.schema).filled(given)
        action = _chosen(wait, given)
        output, problems = form.answer()
        if problems:
            # All that is wrong is said at once, not one thing after the other.
            known = {each.place for each in problems}
            more = answer_problems(wait.schema, target.node_id, output)
            problems += [each for each in more if each.place not in known]
        else:
            try:
                await self._client.answer_by_link(target, output, action=action)
            except AnswerRefused as error:
                problems = list(error.problems)
        if problems:
            return _form_page(wait, form.with_problems(problems), status=422)
        return page_reply(
            "link_notice.html",
            tone="good",
            title="Answer recorded",
            detail=f"{_said(action)}The workflow goes on. You can close this page.",
        )


def _said(action: str | None) -> str:
    return "" if action is None else f"You chose “{spoken(action)}”. "


def _form_page(wait: LinkedWait, form: Form, status: int = 200) -> Reply:
    title = wait.title or f"Answer for {wait.target.node_id}"
    buttons = [
        {"value": str(index), "text": spoken(action), "tone": _tone(action, index)}
        for index, action in enumerate(wait.actions)
    ]
    return page_reply(
        "link_form.html",
        status=status,
        title=title,
        form=form,
        buttons=buttons or [{"value": "", "text": "Send", "tone": "main"}],
        blueprint_id=wait.blueprint_id,
        run_id=wait.target.run_id,
        until=_moment(min(wait.target.expires_at, wait.due_at or wait.target.expires_at)),
    )


def _tone(action: str, index: int) -> str:
    word = action.lower()
    if word in _BAD:
        return "bad"
    return "main" if word in _GOOD or index == 0 else "other"


def _moment(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%B} {moment.day}, {moment:%Y, %H:%M} UTC"


# --- reading requests --------------------------------------------------------------------------


def _is_json(content_type: str) -> bool:
    kind, _, rest = content_type.lower().partition(";")
    kind = kind.strip()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    charset = rest.replace(" ", "").replace('"', "")
    return is_json and ("charset=" not in charset or "charset=utf-8" in charset)


def _form_values(body: bytes) -> dict[str, str]:
    try:
        return dict(
            parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=bool(body),
                errors="strict",
                max_num_fields=MOST_FIELDS,
            )
        )
    except ValueError:
        raise Refusal(_MALFORMED_FORM) from None


def _chosen(wait: LinkedWait, given: Mapping[str, str]) -> str | None:
    """The action of the button that was pressed."""
    if not wait.actions:
        return None
    number = given.get("action", "")
    if number.isascii() and number.isdigit() and int(number[:4]) < len(wait.actions):
        return wait.actions[int(number[:4])]
    raise Refusal(_MALFORMED_FORM)


# --- troubles ----------------------------------------------------------------------------------

_NO_LINK: Final = Trouble(
    "link-not-valid",
    404,
    "This link is not valid",
    "It may have been copied in part. Use it exactly as it was sent, or ask for another one.",
)
_EXPIRED: Final = Trouble(
    "link-expired", 410, "This link has expired", "Ask whoever sent it for another one."
)
_GONE: Final = Trouble(
    "run-gone",
    410,
    "Nobody waits here any more",
    "The run that this link belongs to has been deleted, or was started anew.",
)
_OVER: Final = Trouble(
    "wait-over",
    410,
    "This can no longer be answered",
    "The workflow went on without an answer, or was stopped.",
)
_NOT_YET: Final = Trouble(
    "not-waiting-yet",
    409,
    "This cannot be answered yet",
    "The workflow has not come to this point. Try again in a moment.",
    retry_after_seconds=RETRY_SECONDS,
)
_ANSWERED: Final = Trouble(
    "already-answered",
    409,
    "This was answered already",
    "There is another answer, and it stays. Nothing was changed.",
)
_OTHER_SITE: Final = Trouble(
    "cross-site",
    403,
    "This came from another site",
    "Open the link itself, and answer there. Nothing was changed.",
)
_NOT_JSON: Final = Trouble(
    "not-json", 415, "The body is not JSON", "Send it as application/json, in UTF-8."
)
_ENCODED: Final = Trouble(
    "encoded", 415, "The body is compressed", "Send it without a Content-Encoding."
)
_NOT_FORM: Final = Trouble(
    "not-a-form", 415, "This is not the form", "Open the link, and answer on its page."
)
_MALFORMED: Final = Trouble(
    "malformed",
    400,
    "The body cannot be read",
    "It has to be one JSON value, in UTF-8 and not nested hundreds of levels deep.",
)
_MALFORMED_FORM: Final = Trouble(
    "malformed",
    400,
    "The answer cannot be read",
    "Open the link, and answer on its page. Nothing was changed.",
)
_TOO_LARGE: Final = Trouble(
    "too-large", 413, "The answer is too large", "Send less. Nothing was changed."
)
_BUSY: Final = Trouble(
    "storage-busy",
    503,
    "This cannot be done right now",
    "Try again in a moment. If the answer was recorded, the same one is taken again.",
    retry_after_seconds=RETRY_SECONDS,
)
_INTERNAL: Final = Trouble(
    "internal",
    500,
    "Something went wrong here",
    "Nothing is wrong with the link. Whoever runs this finds more in the log.",
)


def _method(purpose: Purpose, allow: str) -> Trouble:
    what = "takes answers of programs, by POST" if purpose == "webhook" else "is a page"
    title = "This address has no such method"
    return Trouble("method-not-allowed", 405, title, f"It {what}.", allow=allow)


def _answered(wait: LinkedWait) -> Trouble:
    if wait.action is None:
        return _ANSWERED
    detail = f"The answer was “{spoken(wait.action)}”, and it stays."
    return Trouble(_ANSWERED.name, _ANSWERED.status, _ANSWERED.title, detail)


def _unfit(error: AnswerRefused) -> Trouble:
    told = "; ".join(f"{each.place or 'It'} {each.message}" for each in error.problems)
    return Trouble("answer-invalid", 422, "The answer does not fit", f"{told}.", error.problems)


def _unstorable(error: SerializationError) -> Trouble:
    return Trouble("answer-invalid", 422, "The answer does not fit", error.message)


def _no_action(error: InvalidRunState) -> Trouble:
    problem = Problem("action", "is none that is taken here")
    return Trouble("action-invalid", 422, "There is no such action", error.message, [problem])


_TROUBLES: Final[tuple[tuple[type[Exception], Trouble | Callable[[Any], Trouble]], ...]] = (
    (Refusal, lambda error: error.trouble),
    (BodyTooLarge, _TOO_LARGE),
    (LinkExpired, _EXPIRED),
    (LinkInvalid, _NO_LINK),
    (RunNotFound, _GONE),
    (NotWaitingYet, _NOT_YET),
    (AlreadyAnswered, _ANSWERED),
    (InvalidRunState, _no_action),
    (AnswerRefused, _unfit),
    (SerializationError, _unstorable),
    (StorageError, _BUSY),
)


def _trouble(error: Exception) -> Trouble:
    """What a request is told of an error; nothing of what only those who run this may know."""
    for kind, found in _TROUBLES:
        if isinstance(error, kind):
            if isinstance(error, StorageError):
                logger.warning("A link could not be used: %s", error)
            return found if isinstance(found, Trouble) else found(error)
    logger.error("A link could not be used", exc_info=error)
    return _INTERNAL


Handle = Callable[[Asked], Awaitable[Reply]]


def _host_of(origin: str) -> str | None:
    """Host and port of an origin; ``None`` where it is none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
