"""What becomes of a key's room: who is let in, who stands in line, who is called."""

from __future__ import annotations

import random
from typing import Any

import pytest

from flowcraft import Limit, SafeEvaluator, create_flow, lint_blueprint
from flowcraft.core.limit_keys import LONGEST_KEY_BYTES, evaluate_key, stored_key
from flowcraft.core.limits import (
    IN_HAND_SECONDS,
    Limits,
    Room,
    Visitor,
    enter,
    leave,
    pass_on,
    ticket_name,
)

SECONDS = 30.0
NOW = 1_000.0


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "concurrency, or a rate"),
        ({"concurrency": 0}, "at least 1"),
        ({"rate": -1}, "at least 1"),
        ({"rate": 5, "per_seconds": 0}, "more than 0"),
        ({"rate": 5, "per_seconds": float("inf")}, "more than 0"),
        ({"rate": 5, "burst": 6}, "at most the rate"),
        ({"concurrency": 5, "burst": 2}, "at most the rate"),
        ({"concurrency": 10**40}, "at most 1000000000"),
        ({"rate": 10**400}, "at most 1000000000"),
        ({"rate": 5, "per_seconds": 10**400}, "366 days at most"),
        ({"rate": 5, "per_seconds": float("nan")}, "more than 0"),
    ],
)
def test_a_limit_that_limits_nothing_is_refused(options: dict[str, Any], error: str) -> None:
    """Numbers that make no sense are refused, with what is wrong."""
    with pytest.raises(ValueError, match=error):
        Limit(**options)


@pytest.mark.parametrize("options", [{"concurrency": 1.5}, {"rate": True}, {"concurrency": "5"}])
def test_numbers_of_a_limit_are_whole(options: dict[str, Any]) -> None:
    """What is counted is a whole number."""
    with pytest.raises(TypeError, match="whole number"):
        Limit(**options)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ([("a", Limit(concurrency=1))], r"mapping of names to Limit\(…\), not \[\("),
        ({"stripe": 3}, r"The limit of 'stripe' is a Limit\(…\), not 3\."),
        ({5: Limit(concurrency=1)}, "The name of a limit is text, not 5"),
    ],
)
def test_what_are_no_limits_is_refused(limits: Any, error: str) -> None:
    """What is no limit is shown with its name, and what is no mapping as it is."""
    with pytest.raises(TypeError, match=error):
        Limits(limits)


def test_names_in_full_go_before_beginnings() -> None:
    """A key is limited by its own name, else by the longest beginning that it has."""
    one, two, three, four = (Limit(concurrency=number) for number in range(1, 5))
    limits = Limits({"tenant:*": two, "tenant:a": one, "tenant:big:*": three, "*": four})
    found = [limits.of(key) for key in ("tenant:a", "tenant:ab", "tenant:big:x", "stripe")]
    assert found == [one, two, three, four]
    assert Limits({"tenant:*": two}).of("stripe") is None
    assert not Limits()


@pytest.mark.parametrize("name", ["", "a*b", "*a", "**"])
def test_a_star_is_at_the_end(name: str) -> None:
    """A name of a limit has one star, at its end."""
    with pytest.raises(ValueError, match="no name of a limit"):
        Limits({name: Limit(concurrency=1)})
    with pytest.raises(TypeError, match="is a Limit"):
        Limits({"a": 5})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("stripe", "stripe"),
        ("tenant:{input.tenant}", "tenant:acme"),
        ("{input.n}-{input.flag}-{input.none}", "3-true-null"),
        ("{ params.region }/{context.plan}", "eu/pro"),
        ("{input.list}", '["b",1]'),
        ("{{{input.n}}}", "{3}"),
        ("a{{b}}", "a{b}"),
        ("{input.n / 2}", "1.5"),
        ("{input.n * 2.0}", "6"),
        ("", ""),
    ],
)
def test_placeholders_are_evaluated(template: str, key: str) -> None:
    """A key has the values of its placeholders in their places."""
    scope = {
        "input": {"tenant": "acme", "n": 3, "flag": True, "none": None, "list": ["b", 1]},
        "params": {"region": "eu"},
        "context": {"plan": "pro"},
    }
    assert evaluate_key(template, SafeEvaluator(), scope) == (key, None)


def test_what_cannot_be_evaluated_is_null_and_said() -> None:
    """A key that cannot be evaluated limits all the same, and says why it is what it is."""
    key, problem = evaluate_key("tenant:{input.tenant}", SafeEvaluator(), {"input": None})
    assert (key, "input" in str(problem)) == ("tenant:null", True)
    key, problem = evaluate_key("tenant:{input.tenant", SafeEvaluator(), {})
    assert (key, "not closed" in str(problem)) == ("tenant:{input.tenant", True)


def test_long_keys_are_told_apart() -> None:
    """A key that is too long to be stored is stored by its hash, and no other is."""
    long, other = "ä" * 2_000, "ä" * 1_999 + "b"
    assert len(stored_key(long).encode()) < LONGEST_KEY_BYTES
    assert stored_key(long) != stored_key(other)
    assert stored_key("short") == "short"


def _codes(key: str, **more: Any) -> list[str]:
    flow = create_flow("f").node("a", lambda ctx: 1, concurrency_key=key, **more)
    return [issue.code for issue in lint_blueprint(flow.to_blueprint()).issues]


def test_lint_finds_bad_keys() -> None:
    """A brace without a counterpart, and an expression that does not parse, are found."""
    assert _codes("tenant:{input.tenant}") == []
    assert _codes("plain") == []
    for bad in ("{input.tenant", "a}", "{}", "{input.}", "{a {b}}"):
        assert _codes(bad) == ["BAD_CONCURRENCY_KEY"], bad
    assert _codes(" ") == ["BAD_CONCURRENCY_KEY"]


def test_lint_finds_keys_that_do_nothing() -> None:
    """What the engine carries out itself is not limited, except for the items of a batch."""
    flow = create_flow("f").sleep("s", "1s", concurrency_key="db")
    assert [each.code for each in lint_blueprint(flow.to_blueprint()).issues] == [
        "BAD_CONCURRENCY_KEY"
    ]
    flow = create_flow("f").node("l", lambda ctx: [1], uses="l")
    flow.batch("b", lambda ctx: 1, uses="b", concurrency_key="{input.x}").edge("l", "b")
    assert [each.code for each in lint_blueprint(flow.to_blueprint()).issues] == []


def test_starts_of_a_rate_are_bounded_in_any_window() -> None:
    """However they come, no window of a rate has more starts than it allows; it is used up."""
    chance = random.Random(7)
    for rate, burst in ((1, 1), (5, 1), (5, 3), (10, 10), (60, 20)):
        limit = Limit(rate=rate, per_seconds=60, burst=burst)
        room, now, starts = Room(), NOW, []
        for number in range(1_000):
            now += chance.choice((0.0, 0.0, 0.1, 1.0, 7.0))
            visitor = Visitor(str(number), SECONDS, has_waited=True)
            entered, room = enter(room, limit, visitor, now)
            if entered.granted:
                assert now <= entered.at <= now + IN_HAND_SECONDS
                starts.append(entered.at)
        for first, last in zip(starts, starts[rate:], strict=False):
            assert last - first >= 60 - 1e-6, (rate, burst)
        spread = limit.spacing_seconds * (len(starts) - burst)
        assert spread <= now - NOW + IN_HAND_SECONDS + 1e-6
        assert len(starts) >= 0.8 * (now - NOW) / limit.spacing_seconds or rate > 10


def test_who_is_told_to_come_back_finds_its_time_free() -> None:
    """Those who come back when they were told to begin then, whoever else comes meanwhile."""
    limit = Limit(rate=6, per_seconds=60)
    _, room = enter(Room(), limit, Visitor("first", SECONDS), NOW)
    promised = []
    for number in range(20):
        entered, room = enter(room, limit, Visitor(f"w{number}", SECONDS), NOW)
        assert not entered.granted
        promised.append(entered.at)
    assert promised == [NOW + 10 * (number + 1) for number in range(20)]
    for number, at in enumerate(promised):
        rude, room = enter(room, limit, Visitor(f"r{number}", SECONDS, may_wait=False), at - 1)
        assert not rude.granted
        visitor = Visitor(f"w{number}", SECONDS, has_waited=True)
        entered, room = enter(room, limit, visitor, at - 1)
        assert (entered.granted, entered.at) == (True, at)


def test_no_more_are_in_than_may_and_nobody_starves() -> None:
    """Whatever happens in whatever order: the limit holds, and who waits comes in by ticket."""
    for seed in range(200):
        _play_a_room(random.Random(seed))


def _play_a_room(chance: random.Random) -> None:
    limit = Limit(concurrency=chance.choice((1, 2, 3)))
    room, now = Room(), NOW
    inside: dict[str, float] = {}
    waiting: dict[int, str] = {}
    admitted: list[int] = []
    for number in range(150):
        now += chance.choice((0.0, 0.1, 1.0, 12.0))
        inside = {token: until for token, until in inside.items() if until > now}
        happens = chance.random()
        if happens < 0.5 or not (inside or waiting):
            entered, room = enter(room, limit, Visitor(f"t{number}", SECONDS), now)
            if entered.granted:
                assert not any(ticket >= room.called for ticket in waiting), "somebody overtook"
                inside[f"t{number}"] = entered.until
            else:
                assert entered.ticket is not None
                waiting[entered.ticket] = f"t{number}"
        elif happens < 0.8 and inside:
            token = chance.choice(sorted(inside))
            del inside[token]  # or else it is dead, and never leaves
            if chance.random() < 0.7:
                _, room = leave(room, limit, token, now, SECONDS)
        elif waiting:
            ticket = chance.choice(sorted(waiting))
            visitor = Visitor(waiting[ticket], SECONDS, ticket)
            entered, room = enter(room, limit, visitor, now)
            if entered.granted:
                inside[waiting.pop(ticket)] = entered.until
                admitted.append(ticket)
            elif entered.ticket != ticket and entered.ticket is not None:
                waiting[entered.ticket] = waiting.pop(ticket)
        assert len(inside) <= limit.concurrency  # type: ignore[operator]
        assert len([1 for until in room.holders.values() if until > now]) <= 3
    for _ in range(2 * len(waiting) + 2):  # everybody who looks in again comes in by and by
        now += SECONDS
        for ticket in sorted(waiting):
            visitor = Visitor(waiting[ticket], SECONDS, ticket)
            entered, room = enter(room, limit, visitor, now)
            if entered.granted:
                token = waiting.pop(ticket)
                _, room = leave(room, limit, token, now, SECONDS)
            elif entered.ticket is not None and entered.ticket != ticket:
                waiting[entered.ticket] = waiting.pop(ticket)
    assert not waiting


def test_a_larger_limit_lets_those_in_who_wait() -> None:
    """When a limit is raised, whoever looks in next has those called for whom there is room now."""
    small, large = Limit(concurrency=1), Limit(concurrency=3)
    _, room = enter(Room(), small, Visitor("a", SECONDS), NOW)
    for token in "bcd":
        _, room = enter(room, small, Visitor(token, SECONDS), NOW)
    entered, room = enter(room, large, Visitor("d", SECONDS, 2), NOW)
    assert (entered.granted, entered.called) == (False, (0, 1))
    assert set(room.holders) == {"a", ticket_name(0), ticket_name(1)}
    # One that is lowered lets nobody in until enough have left.
    called, room = leave(room, small, "a", NOW, SECONDS)
    assert called == ()


def test_whoever_knows_no_limit_passes_its_place_on() -> None:
    """The next in line has it, as many are in as were, and who has no place changes nothing."""
    room = Room({"a": NOW + 1, "b": NOW + 1}, called=3, given=5)
    called, after = pass_on(room, "a", NOW, SECONDS)
    assert (called, after) == ((3,), Room({"b": NOW + 1, "#3": NOW + SECONDS}, 4, 5))
    assert pass_on(after, "a", NOW, SECONDS) == ((), after)
    called, after = pass_on(after, "#3", NOW, SECONDS)
    called, after = pass_on(after, "#4", NOW, SECONDS)
    assert (called, after) == ((), Room({"b": NOW + 1}, 5, 5))


def test_a_room_whose_limit_is_not_known_is_kept_for_as_long_as_its_times_matter() -> None:
    """Nobody begins too early because it was forgotten."""
    room = Room(next_at=NOW + 500, promised_until=NOW + 800)
    assert room.memory_seconds(NOW) == 800 + IN_HAND_SECONDS
    assert room.memory_seconds(NOW + 9_000) == IN_HAND_SECONDS
