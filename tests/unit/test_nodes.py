"""What can be a node, and what is found out about it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import pytest

from flowcraft.engine.nodes import Implementation, Node, NodeResult, describe, node
from flowcraft.errors import FlowcraftError, InputError

if TYPE_CHECKING:
    from datetime import datetime

    from flowcraft.engine.context import NodeContext

T = TypeVar("T")


class Context(Generic[T]):
    """A context as the detection knows one, with nothing but an input."""

    __flowcraft_context__ = True

    def __init__(self, value: T) -> None:
        self.input = value


class Order: ...


class Receipt: ...


async def typed(ctx: Context[Order]) -> NodeResult[Receipt]: ...  # type: ignore[empty-body]


def untyped(ctx):  # type: ignore[no-untyped-def]
    return ctx.input


def checked_only(ctx: NodeContext[Order]) -> datetime: ...  # type: ignore[empty-body]


def bare(ctx: NodeContext) -> None: ...  # type: ignore[type-arg]


def anything(ctx: Context[Any]) -> Any: ...


def annotated(ctx: Annotated[Context[list[Order]], "x"]) -> list[Receipt]: ...  # type: ignore[empty-body]


def unresolvable(ctx: Context[datetime]) -> None: ...


class Charge(Node[Order, Receipt]):
    async def exec(self, ctx: NodeContext[Order], prepared: Any) -> Receipt: ...  # type: ignore[empty-body]


class Through(Node[list[T], Receipt], Generic[T]): ...


class Concrete(Through[Order]): ...


class ByHints(Node):  # type: ignore[type-arg]
    def exec(self, ctx: Context[Order], prepared: Any) -> Receipt: ...  # type: ignore[empty-body,override]


class Holder:
    """Callables that are no plain functions."""

    def method(self, ctx: Context[Order]) -> Receipt: ...  # type: ignore[empty-body]

    async def __call__(self, ctx: Context[Order]) -> Receipt: ...  # type: ignore[empty-body]


def with_settings(rate: int, ctx: Context[Order]) -> Receipt: ...  # type: ignore[empty-body]


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("implementation", "kind", "input_type", "output_type"),
    [
        (typed, "async", Order, Receipt),
        (untyped, "sync", None, None),
        (bare, "sync", None, type(None)),
        (checked_only, "sync", Order, None),
        (anything, "sync", None, None),
        (annotated, "sync", list[Order], list[Receipt]),
        (logged(typed), "async", Order, Receipt),
        (logged(untyped), "sync", None, None),
        (Holder(), "async", Order, Receipt),
        (Holder().method, "sync", Order, Receipt),
        (functools.partial(with_settings, 3), "sync", Order, Receipt),
        (functools.partial(Holder().method), "sync", Order, Receipt),
        (lambda ctx: ctx, "sync", None, None),
        (lambda *args: args, "sync", None, None),
        (str, None, None, None),
        (len, "sync", None, None),
        (Charge, "class", Order, Receipt),
        (functools.partial(Charge), "class", Order, Receipt),
        (Concrete, "class", list[Order], Receipt),
        (ByHints, "class", Order, Receipt),
    ],
)
def test_describe(implementation: Any, kind: str | None, input_type: Any, output_type: Any) -> None:
    """Kind and types are found for all forms of callables and classes."""
    if kind is None:
        with pytest.raises(FlowcraftError, match=r"without the steps"):
            describe(implementation)
        return
    found = describe(implementation)
    assert (found.kind, found.input_type, found.output_type) == (kind, input_type, output_type)
    assert found.call is implementation


def test_descriptions_are_cached() -> None:
    """A function is described once; a wrapper that copies its attributes gets its own."""
    assert describe(untyped) is describe(untyped)
    wrapper = logged(untyped)
    assert describe(wrapper) is not describe(untyped)
    assert describe(wrapper).call is wrapper
    assert describe(Charge) is not describe(Node)
    found = describe(untyped)
    assert describe(found) is found


def test_types_are_looked_up_when_asked_for() -> None:
    """A node whose annotation cannot be resolved is described; only asking for it fails."""
    found = describe(unresolvable)
    with pytest.raises(InputError) as caught:
        _ = found.input_type
    assert "unresolvable" in str(caught.value)
    assert "name 'datetime' is not defined" in str(caught.value)
    assert "TYPE_CHECKING" in str(caught.value)


def test_local_types_that_the_function_uses_are_found() -> None:
    """A class defined beside a function, in another function, is found through its closure."""

    class Local: ...

    def work(ctx: Context[Local]) -> Any:
        return Local

    assert describe(work).input_type is Local


async def stream(ctx: Any) -> AsyncIterator[int]:
    yield 1


def lines(ctx: Any) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("implementation", "message"),
    [
        (lambda: 1, "takes no argument, but a node is called with its context"),
        (lambda *, ctx: 1, "takes no argument"),
        (lambda ctx, more: 1, "asks for more too"),
        (lambda ctx, *, key: 1, "asks for key too"),
        (stream, "it is a generator"),
        (lines, "it is a generator"),
        (Charge(), "it is an instance; pass the class Charge"),
        (Order, "make it a subclass of flowcraft.Node"),
        ("work", "it cannot be called"),
        (None, "it cannot be called"),
    ],
)
def test_what_cannot_be_a_node(implementation: Any, message: str) -> None:
    """Mistakes are found when the node is registered, and said clearly."""
    with pytest.raises(FlowcraftError, match="cannot be a node") as caught:
        describe(implementation)
    assert message in str(caught.value)
    assert caught.value.is_fatal


def test_the_decorator_leaves_a_function_as_it_is() -> None:
    """Marked or not, with arguments or without, it is the same function."""

    def work(ctx: Any) -> Any:
        return ctx

    assert node(work) is work
    assert node(uses="shop/work", input=list[int], output=Receipt)(work) is work
    found = describe(work)
    assert (found.uses, found.input_type, found.output_type) == ("shop/work", list[int], Receipt)
    assert describe(functools.partial(work)).uses == "shop/work"


def test_a_subclass_does_not_inherit_the_key() -> None:
    """A marked class keeps its key to itself: its subclass is another node."""

    @node(uses="base")
    class Base(Node[Any, Any]): ...

    class Derived(Base): ...

    assert describe(Base).uses == "base"
    assert describe(Derived).uses is None


def test_a_result_can_be_shared() -> None:
    """A result cannot be changed after it was returned, its list of nodes included."""
    nodes = [{"id": "a"}]
    result = NodeResult(output=1, action="go", dynamic_nodes=nodes)
    nodes.append({"id": "b"})
    assert result.dynamic_nodes == ({"id": "a"},)
    with pytest.raises(FrozenInstanceError):
        result.output = 2  # type: ignore[misc]
    assert NodeResult() == NodeResult(output=None, action=None, dynamic_nodes=(), error=None)


def test_the_default_steps_of_a_class() -> None:
    """By default the input goes to exec, its result becomes the output, and errors pass."""

    class Plain(Node[int, int]): ...

    async def steps() -> None:
        plain, ctx = Plain(), Context(3)
        assert await plain.prep(ctx) == 3  # type: ignore[arg-type]
        assert await plain.post(ctx, 4) == NodeResult(output=4)  # type: ignore[arg-type]
        given = NodeResult(output=5, action="x")
        assert await plain.post(ctx, given) is given  # type: ignore[arg-type]
        assert await plain.recover(ctx, ValueError()) is None  # type: ignore[arg-type,func-returns-value]
        with pytest.raises(NotImplementedError, match="Plain has no 'exec'"):
            await plain.exec(ctx, 3)  # type: ignore[arg-type]
        error = ValueError("x")
        with pytest.raises(ValueError, match="x") as caught:
            await plain.fallback(ctx, error)  # type: ignore[arg-type]
        assert caught.value is error

    asyncio.run(steps())


def test_descriptions_are_values() -> None:
    """Two descriptions of one callable are equal, whatever was asked of them."""
    call = functools.partial(untyped)
    one, other = describe(call), describe(call)
    assert one.input_type is None
    assert one == other
    assert isinstance(one, Implementation)
