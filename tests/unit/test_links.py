"""Tokens of links: what they say, who can make them, and that nothing of them can be changed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import pytest

from flowcraft import FlowRuntime
from flowcraft.engine.links import LONGEST_TOKEN, Links, LinkTarget, Purpose
from flowcraft.errors import LinkExpired, LinkInvalid

OLD, NEW = "an older secret of at least 32 bytes", "a newer secret of at least 32 bytes"
BASE = "https://flows.example.org"
NOW = 1_900_000_000.0
TARGET = LinkTarget("run-1", "epoch", "approve", (2, 0), "approval", "yes", NOW + 60)


def token(links: Links, target: LinkTarget = TARGET) -> str:
    """The token of a link."""
    return links.url(target).rpartition("/")[2]


@pytest.mark.parametrize(
    "target",
    [
        TARGET,
        replace(TARGET, purpose="webhook", action=None, iteration=()),
        replace(TARGET, run_id="a/b c\"<'>&\u202e\N{SNOWMAN}", node_id="x\ty", action="\x1b[31m"),
    ],
)
def test_a_token_says_what_it_is_for(target: LinkTarget) -> None:
    """Whatever ids hold, what is read is what was written, and the address is plain ASCII."""
    links = Links(BASE, NEW)
    url = links.url(target)
    assert url.isascii()
    assert url.isprintable()
    assert set(url.rpartition("/")[2]) <= set("-._") | {
        c for c in map(chr, range(128)) if c.isalnum()
    }
    assert links.read(token(links, target), target.purpose, NOW) == target


def test_purposes_have_paths_of_their_own() -> None:
    """A program and a person are sent to different places below the base address."""
    links = Links(f"{BASE}/below/", NEW)
    assert links.url(TARGET).startswith(f"{BASE}/below/approve/f1.")
    assert links.url(replace(TARGET, purpose="webhook")).startswith(f"{BASE}/below/hooks/f1.")


def test_no_character_of_a_token_can_be_another_one() -> None:
    """A token with any one character changed, left out, doubled or added is not valid."""
    links = Links(BASE, NEW)
    good = token(links)
    for place in range(len(good)):
        other = "A" if good[place] != "A" else "B"
        for bad in (
            good[:place] + other + good[place + 1 :],
            good[:place] + good[place + 1 :],
            good[:place] + good[place] + good[place:],
            good[:place],
        ):
            if bad != good:
                with pytest.raises(LinkInvalid, match="not valid"):
                    links.read(bad, "approval", NOW)
    for bad in (f"{good}=", f"{good}.", f".{good}", good.upper(), good * 2, ""):
        with pytest.raises(LinkInvalid):
            links.read(bad, "approval", NOW)


@pytest.mark.parametrize(
    "bad",
    [
        "x" * (LONGEST_TOKEN + 1),
        "f1.a.b.c",
        "....",
        "f1...",
        "f2.x.y.z",
        "ä.ö.ü.ß",
        "\x00",
        "f1.\u202e",
    ],
)
def test_what_is_no_token_is_not_valid(bad: str) -> None:
    """Texts of any kind are refused in the same words as altered tokens."""
    with pytest.raises(LinkInvalid, match="not made here, or was altered"):
        Links(BASE, NEW).read(bad, "approval", NOW)


def test_a_token_is_for_one_purpose_for_a_time() -> None:
    """The other purpose is not valid; after its time a right token is said to be expired."""
    links = Links(BASE, NEW)
    with pytest.raises(LinkInvalid) as refused:
        links.read(token(links), "webhook", NOW)
    assert not isinstance(refused.value, LinkExpired)
    assert links.read(token(links), "approval", NOW + 59.9).node_id == "approve"
    with pytest.raises(LinkExpired):
        links.read(token(links), "approval", NOW + 60)


def test_an_altered_token_is_never_told_to_be_expired() -> None:
    """Who tries learns nothing: an old token with one character changed is just not valid."""
    links = Links(BASE, NEW)
    altered = token(links)[:-1] + ("A" if token(links)[-1] != "A" else "B")
    with pytest.raises(LinkInvalid) as refused:
        links.read(altered, "approval", NOW + 1000)
    assert not isinstance(refused.value, LinkExpired)


def test_secrets_are_replaced_one_after_the_other() -> None:
    """The first signs, all are accepted; links of one that was taken away are not valid."""
    before, during, after = Links(BASE, OLD), Links(BASE, [NEW, OLD]), Links(BASE, NEW)
    old, new = token(before), token(during)
    assert during.read(old, "approval", NOW) == during.read(new, "approval", NOW) == TARGET
    assert after.read(new, "approval", NOW) == TARGET
    for links, gone in ((after, old), (before, new)):
        with pytest.raises(LinkInvalid):
            links.read(gone, "approval", NOW)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((BASE, "short"), ValueError, "has 5 bytes, and needs at least 32"),
        ((BASE, "a" * 40), ValueError, "too simple"),
        ((BASE, [NEW, "short"]), ValueError, "Secret 2 of links has 5 bytes"),
        ((BASE, []), ValueError, "need a secret"),
        ((BASE, [1]), TypeError, "is text, not int"),
        (("flows.example.org", NEW), ValueError, "base_url is an address"),
        (("ftp://x", NEW), ValueError, "base_url is an address"),
        (("https://a b", NEW), ValueError, "base_url is an address"),
        (("https://x:99999", NEW), ValueError, "base_url is no address"),
        (("https://x/?a=b", NEW), ValueError, "nothing else"),
        (("https://user:word@x", NEW), ValueError, "nothing else"),
        ((None, NEW), TypeError, "base_url is text"),
    ],
)
def test_what_links_are_made_of_is_checked(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    """Addresses and secrets that cannot be are refused, without a word of the secret."""
    with pytest.raises(error, match=message) as refused:
        Links(*arguments)
    assert "short" not in str(refused.value).replace("too short", "")


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 400 * 86_400, True, "1"])
def test_lifetimes_have_bounds(seconds: Any) -> None:
    """A lifetime is a positive number of seconds of up to a year."""
    with pytest.raises((TypeError, ValueError), match="lifetime_seconds"):
        Links(BASE, NEW, lifetime_seconds=seconds)


def test_secrets_are_not_given_away() -> None:
    """Neither its text nor a copy of it in a file tells the secret of links."""
    links = Links(BASE, [NEW, OLD])
    assert NEW not in repr(links)
    assert "newer" not in repr(FlowRuntime(links=links).options)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(links)


def test_a_secret_is_no_links() -> None:
    """A runtime that is given the secret itself says what it wants instead."""
    wrong: Any = NEW
    with pytest.raises(TypeError, match="not a str") as refused:
        FlowRuntime(links=wrong)
    assert NEW not in str(refused.value)


def test_an_address_has_a_bounded_length() -> None:
    """An id that would make the address too long for servers is refused as the link is made."""
    with pytest.raises(ValueError, match="use shorter run ids"):
        Links(BASE, NEW).url(replace(TARGET, run_id="x" * 6_000))


@pytest.mark.parametrize("purpose", ["webhook", "approval"])
def test_a_signed_text_of_another_program_is_not_valid(purpose: Purpose) -> None:
    """The same secret may sign other things: what they sign is no link."""
    links = Links(BASE, NEW)
    version, key, content, _ = token(links).split(".")
    import base64  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    bare = hmac.digest(NEW.encode(), f"{version}.{key}.{content}".encode(), "sha256")
    signature = base64.urlsafe_b64encode(bare).rstrip(b"=").decode()
    with pytest.raises(LinkInvalid):
        links.read(f"{version}.{key}.{content}.{signature}", purpose, NOW)
