"""The implementations that a worker has, by key."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pytest

from flowcraft.core.builtins import BUILTIN_USES
from flowcraft.engine.nodes import Node, describe, node
from flowcraft.engine.registry import Registry
from flowcraft.errors import FlowcraftError, ImplementationMissing


def charge(ctx: Any) -> Any: ...


def ship(ctx: Any) -> Any: ...


@node(uses="shop/pack")
def pack(ctx: Any) -> Any: ...


class Notify(Node[Any, Any]): ...


class Shop:
    def work(self, ctx: Any) -> Any: ...

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


def test_a_registry_is_a_mapping() -> None:
    """It is read like any mapping, keys in order, and gives descriptions."""
    registry = Registry({"charge": charge, "notify": Notify})
    assert isinstance(registry, Mapping)
    assert list(registry) == ["charge", "notify"]
    assert len(registry) == 2
    assert "charge" in registry
    assert "other" not in registry
    assert registry["charge"] is describe(charge)
    assert registry.get("other") is None
    assert repr(registry) == "Registry(charge, notify)"


def test_all_ways_to_fill_one() -> None:
    """Mapping, iterable, call, decorator and merge lead to the same."""
    registry = Registry([pack])
    assert registry.register("charge", charge) is charge

    @registry.register("local")
    def local(ctx: Any) -> Any: ...

    registry.merge({"ship": ship})
    registry.merge(Registry({"notify": Notify}))
    calls = {key: found.call for key, found in registry.items()}
    assert calls == {
        "shop/pack": pack,
        "charge": charge,
        "local": local,
        "ship": ship,
        "notify": Notify,
    }


def test_the_same_implementation_again_is_fine() -> None:
    """Registering twice changes nothing, for bound methods too, which are new at each access."""
    shop = Shop()
    registry = Registry({"charge": charge, "work": shop.work})
    registry.merge(registry)
    registry.register("work", shop.work)
    assert len(registry) == 2


@pytest.mark.parametrize("other", [ship, Notify, functools.partial(charge), lambda ctx: 1])
def test_another_implementation_is_refused(other: Any) -> None:
    """Two implementations under one key are an error that names both."""
    registry = Registry({"charge": charge})
    with pytest.raises(FlowcraftError) as caught:
        registry.register("charge", other)
    assert "two implementations are registered as 'charge'" in str(caught.value)
    assert describe(charge).name in str(caught.value)
    assert describe(other).name in str(caught.value)
    assert registry["charge"].call is charge


def test_methods_of_equal_objects_are_not_the_same() -> None:
    """Whether two methods are the same is not left to the objects' own idea of equality."""
    registry = Registry({"work": Shop().work})
    with pytest.raises(FlowcraftError, match="two implementations"):
        registry.register("work", Shop().work)


@pytest.mark.parametrize("key", sorted(BUILTIN_USES))
def test_builtin_names_are_reserved(key: str) -> None:
    """What the engine carries out itself cannot be replaced by accident."""
    with pytest.raises(FlowcraftError, match=f"as '{key}': the engine carries out"):
        Registry({key: charge})


@pytest.mark.parametrize("key", ["", 3, None])
def test_keys_are_texts(key: Any) -> None:
    """A key that no blueprint could name is refused."""
    with pytest.raises(FlowcraftError, match="a key is a text"):
        Registry().register(key, charge)


def test_a_failed_merge_takes_nothing() -> None:
    """If one entry cannot be taken over, none is."""
    registry = Registry({"charge": charge})
    with pytest.raises(FlowcraftError, match="two implementations"):
        registry.merge({"ship": ship, "charge": pack})
    assert list(registry) == ["charge"]


def test_unmarked_functions_need_a_key() -> None:
    """A list of implementations works for those that say their own key only."""
    with pytest.raises(FlowcraftError, match=r"charge says no key of its own; mark it"):
        Registry([charge])


def test_a_missing_one_is_named_with_what_looks_alike() -> None:
    """Asking for a key that is not there says so, and helps with a slip of the pen."""
    registry = Registry({"charge-card": charge, "ship": ship})
    assert registry.require("ship").call is ship
    with pytest.raises(ImplementationMissing, match=r"'charge_card'; did you mean 'charge-card'\?"):
        registry.require("charge_card")
    with pytest.raises(ImplementationMissing, match=r"uses 'zzz'; pass it in the registry"):
        registry.require("zzz")
