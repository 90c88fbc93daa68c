"""Valid data altered at one place or at some, as damage, other versions or mischief leave it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

HALF = "\ud800"
STRANGE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 7, 2.5, 1e308, float("inf"), float("nan"), 10**30, -(10**30)),
    *("", "a", "\x00", "\x1f", f"é{HALF}", "\u202e", "9" * 400, "1", "null"),
    *([], {}, [[]], [1, 2], {"a": {}}, ["a", []], [0, [-1]], [0, [0]], [0] * 50),
]
"""Values that nobody expects."""

strange = st.sampled_from(STRANGE)
_chance = st.integers(0, 9)


@st.composite
def altered(draw: st.DrawFn, value: Any, times: int = 2, others: tuple[Any, ...] = ()) -> Any:
    """JSON data, altered at some places.

    Args:
        draw: Draws.
        value: The data.
        times: At how many places at most.
        others: Values to be found at wrong places, beside strange ones.
    """
    replaced = st.sampled_from([*STRANGE, *others])
    for _ in range(draw(st.integers(1, times))):
        value = _altered(draw, value, replaced)
    return value


def _altered(draw: st.DrawFn, value: Any, replaced: st.SearchStrategy[Any]) -> Any:
    chance = draw(_chance)
    if value and isinstance(value, dict) and chance:
        name = draw(st.sampled_from(sorted(value)))
        rest = {key: each for key, each in value.items() if key != name}
        if chance == 1:
            return rest
        if chance == 2:
            return {**rest, draw(st.sampled_from(["", "zz", name.upper()])): value[name]}
        return {**value, name: _altered(draw, value[name], replaced)}
    if value and isinstance(value, list) and chance:
        place = draw(st.integers(0, len(value) - 1))
        before, after = value[:place], value[place + 1 :]
        if chance == 1:
            return [*before, *after]
        if chance == 2:
            return [*before, draw(replaced), value[place], *after]
        return [*before, _altered(draw, value[place], replaced), *after]
    if isinstance(value, str) and value and chance > 5:
        place = draw(st.integers(0, len(value) - 1))
        return value[:place] + draw(st.sampled_from(["", "\x00", "~", "9"])) + value[place + 1 :]
    if type(value) is int and chance > 5:
        return value + draw(st.sampled_from([-1, 1, 1000]))
    return draw(replaced)
