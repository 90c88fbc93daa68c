"""Links that answer a wait: addresses with a signed token in them.

A token says what it is for, in the clear: the run and which start of it, the node, the round of the
loops around it, the purpose, an action if it carries one, and until when it holds. What makes it
safe to give away is the signature: HMAC-SHA256 with a secret of at least 32 bytes that only those
know who make links and who take answers. Whoever has a link may answer with it, and nothing else.

A token is ``f1.KEY.CONTENT.SIGNATURE``: the version, the id of the secret (eight characters of a
hash of it), JSON and the signature, both in base64 for addresses without padding.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

from flowcraft.errors import LinkExpired, LinkInvalid

VERSION: Final = "f1"
LEAST_SECRET_BYTES: Final = 32
"""As long as what HMAC-SHA256 gives: RFC 2104 advises against less."""

LIFETIME_SECONDS: Final = 7 * 86_400.0
LONGEST_LIFETIME_SECONDS: Final = 366 * 86_400.0
"""No timer is due later than that."""

LONGEST_TOKEN: Final = 6_000
"""Characters: servers and proxies take addresses of 8 KB."""

LEAST_SIGNS: Final = 8
"""Different characters of a secret: ``aaaa…`` is none."""

Purpose = Literal["webhook", "approval"]
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
PATHS: Final[dict[Purpose, str]] = {"webhook": "hooks", "approval": "approve"}
"""Where links of a purpose lead, below the base address."""

_CONTEXT: Final = b"flowcraft answer link\0"
"""What is signed begins with it, so that the secret may be used for something else, too."""


@dataclass(frozen=True, slots=True)
class LinkTarget:
    """What a link is for.

    Attributes:
        run_id: The run that the node belongs to: a child run by its own id.
        epoch: Which start of it: one that is begun anew under the same id is another run.
        node_id: The node that waits.
        iteration: The round of each loop around it, outermost first.
        purpose: ``webhook``: a program posts JSON. ``approval``: a person sees a page.
        action: The only action that it answers with; ``None`` for any that the wait takes.
        expires_at: Until when it holds, in seconds since the epoch.
    """

    run_id: str
    epoch: str
    node_id: str
    iteration: tuple[int, ...]
    purpose: Purpose
    action: str | None
    expires_at: float


class Links:
    """Makes links and reads their tokens.

    Args:
        base_url: Where ``flowcraft.web.links`` can be reached from outside, such as
            ``https://flows.example.org`` or, mounted below a path, with that path.
        secrets: One secret, or several while one replaces another: the first signs, links of all
            hold. ``flowcraft links secret`` makes one.
        lifetime_seconds: How long a link holds, unless something else is said of it: a week.

    Raises:
        TypeError: An argument is of another type.
        ValueError: The address is none, a secret is too short or too simple, or the lifetime is
            not positive or longer than a year.
    """

    __slots__ = ("_keys", "_signing", "base_url", "lifetime_seconds")

    def __init__(
        self,
        base_url: str,
        secrets: str | Sequence[str],
        *,
        lifetime_seconds: float = LIFETIME_SECONDS,
    ) -> None:
        self.base_url = checked_base_url(base_url)
        self.lifetime_seconds = checked_lifetime(lifetime_seconds)
        keys = checked_secrets(secrets)
        self._keys = {_key_id(key): key for key in keys}
        self._signing = _key_id(keys[0])

    def __repr__(self) -> str:
        return f"<Links {self.base_url}, {len(self._keys)} secret(s)>"

    def __reduce__(self) -> Any:
        raise TypeError("Links hold secrets and are not pickled.")

    def url(self, target: LinkTarget) -> str:
        """The address that answers a wait.

        Raises:
            ValueError: It would be too long for an address.
        """
        return f"{self.base_url}/{PATHS[target.purpose]}/{self.token(target)}"

    def token(self, target: LinkTarget) -> str:
        """The token of a link.

        Raises:
            ValueError: It would be too long for an address.
        """
        content = [
            target.run_id,
            target.epoch,
            target.node_id,
            list(target.iteration),
            target.purpose,
            target.action,
            int(target.expires_at),
        ]
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        signed = f"{VERSION}.{self._signing}.{_encoded(text.encode())}"
        token = f"{signed}.{_signature(self._keys[self._signing], signed)}"
        if len(token) > LONGEST_TOKEN:
            raise ValueError(
                f"The link for node '{target.node_id}' would have {len(token)} characters, more "
                f"than the {LONGEST_TOKEN} that addresses have room for: use shorter run ids."
            )
        return token

    def read(self, token: str, purpose: Purpose, now: float) -> LinkTarget:
        """What a token is for.

        Args:
            token: What was in the address.
            purpose: What it is used for.
            now: The time, in seconds since the epoch.

        Raises:
            LinkExpired: It was right once.
            LinkInvalid: It is none, was altered, or is for another purpose; which of these is not
                said, so that nobody learns anything by trying.
        """
        target = self._verified(token)
        if target is None or target.purpose != purpose:
            raise LinkInvalid("The link is not valid: it was not made here, or was altered.")
        if target.expires_at <= now:
            raise LinkExpired("The link has expired.")
        return target

    def _verified(self, token: str) -> LinkTarget | None:
        if len(token) > LONGEST_TOKEN or not token.isascii():
            return None
        signed, _, signature = token.rpartition(".")
        version, _, rest = signed.partition(".")
        key_id, _, content = rest.partition(".")
        key = self._keys.get(key_id)
        if version != VERSION or key is None:
            return None
        if not hmac.compare_digest(_signature(key, signed), signature):
            return None
        return _target(content)


def _target(content: str) -> LinkTarget | None:
    """What was signed here, so that it is as it was written; unless another program did that."""
    try:
        padded = content + "=" * (-len(content) % 4)
        run_id, epoch, node_id, iteration, purpose, action, expires_at = json.loads(
            base64.urlsafe_b64decode(padded)
        )
        target = LinkTarget(
            str(run_id),
            str(epoch),
            str(node_id),
            tuple(int(each) for each in iteration),
            purpose,
            action,
            float(expires_at),
        )
    except (ValueError, TypeError, binascii.Error):
        return None
    return target if purpose in PURPOSES else None


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _signature(key: bytes, signed: str) -> str:
    return _encoded(hmac.digest(key, _CONTEXT + signed.encode("ascii"), "sha256"))


def _key_id(key: bytes) -> str:
    """A name of a secret that tells nothing of it."""
    return _encoded(hmac.digest(key, b"flowcraft key id", "sha256"))[:8]


# --- arguments ---------------------------------------------------------------------------------


def checked_base_url(base_url: str) -> str:
    """An address to which paths can be added.

    Raises:
        TypeError: It is no text.
        ValueError: It is no address of http or https, or has more than a path.
    """
    if not isinstance(base_url, str):
        raise TypeError(f"base_url is text, not {type(base_url).__name__}.")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"base_url is no address: {error}.") from None
    is_odd = not base_url.isascii() or any(sign.isspace() for sign in base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or is_odd or port == 0:
        raise ValueError(
            f"base_url is an address such as https://flows.example.org, not {base_url!r:.80}."
        )
    if parts.query or parts.fragment or parts.username or parts.password or "?" in base_url:
        raise ValueError("base_url has a host and perhaps a path, and nothing else.")
    return base_url.rstrip("/")


def checked_secrets(secrets: str | Sequence[str]) -> list[bytes]:
    """Secrets as keys, the one that signs first; no message ever shows one.

    Raises:
        TypeError: They are no texts.
        ValueError: There is none, or one is too short or too simple.
    """
    several = [secrets] if isinstance(secrets, str) else list(secrets)
    if not several:
        raise ValueError("Links need a secret; 'flowcraft links secret' makes one.")
    keys: list[bytes] = []
    for number, secret in enumerate(several, 1):
        if not isinstance(secret, str):
            raise TypeError(f"A secret of links is text, not {type(secret).__name__}.")
        key = secret.strip().encode()
        which = "The secret" if len(several) == 1 else f"Secret {number}"
        if len(key) < LEAST_SECRET_BYTES:
            raise ValueError(
                f"{which} of links has {len(key)} bytes, and needs at least {LEAST_SECRET_BYTES}; "
                "'flowcraft links secret' makes one."
            )
        if len(set(key)) < LEAST_SIGNS:
            raise ValueError(f"{which} of links is too simple; 'flowcraft links secret' makes one.")
        keys.append(key)
    return keys


def checked_links(links: Links | None) -> Links | None:
    """What makes links, if anything does.

    Raises:
        TypeError: It is something else, a secret for instance.
    """
    if links is not None and not isinstance(links, Links):
        raise TypeError(f"links is Links(base_url, secret), not a {type(links).__name__}.")
    return links


def checked_lifetime(seconds: float) -> float:
    """How long links hold.

    Raises:
        TypeError: It is no number.
        ValueError: It is not positive, or longer than a year.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"lifetime_seconds is a number, not {type(seconds).__name__}.")
    if not 0 < seconds <= LONGEST_LIFETIME_SECONDS:
        raise ValueError(
            f"lifetime_seconds is more than 0 and at most {LONGEST_LIFETIME_SECONDS:,.0f}, "
            f"not {seconds!r:.30}."
        )
    return float(seconds)
