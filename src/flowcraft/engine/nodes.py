"""What a user writes to do the work: node functions, node classes, and what they return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, cast, overload

from flowcraft.engine.annotations import (
    class_arguments,
    context_input_type,
    known_type,
    plain_function,
    return_type,
)
from flowcraft.errors import FlowcraftError

if TYPE_CHECKING:
    from flowcraft.engine.context import NodeContext

In = TypeVar("In")
Out = TypeVar("Out")
F = TypeVar("F", bound=Callable[..., Any])

Kind = Literal["async", "sync", "class"]

STEPS: Final = ("prep", "exec", "fallback", "post", "recover")
_CACHE: Final = "__flowcraft_implementation__"
_TAKES_CONTEXT: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)


@dataclass(frozen=True, slots=True)
class NodeResult(Generic[Out]):
    """What a node returns when it has more to say than its output (rule S7).

    Attributes:
        output: The node's output; None is a legitimate one.
        action: Chooses the outgoing edges (rule S2); None takes those without an action.
        dynamic_nodes: Nodes to add to the run, as blueprint nodes or dicts in their JSON form.
        error: Says that the node failed, without raising.
    """

    output: Out | None = None
    action: str | None = None
    dynamic_nodes: Sequence[Any] = ()
    error: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "dynamic_nodes", tuple(self.dynamic_nodes))


class Node(Generic[In, Out]):
    """Base of nodes that are classes; each execution makes an instance of its own.

    The steps run in this order: ``prep``, ``exec``, ``post``. Only ``exec`` is repeated within
    one delivery; when it has used up its attempts, ``fallback`` is asked for a result in its
    place. ``recover`` is told of an error that fails the attempt, for cleaning up. Any of them
    may be a plain method as well: it runs in a thread, and its ``ctx`` is a
    :class:`SyncNodeContext`. ``In`` and ``Out`` are the types of the node's input, which is
    decoded accordingly, and of its output.
    """

    async def prep(self, ctx: NodeContext[In]) -> Any:
        """Give what ``exec`` works on; the node's input by default."""
        return ctx.input

    async def exec(self, ctx: NodeContext[In], prepared: Any) -> Out:
        """Do the work and give the result."""
        del ctx, prepared
        name = type(self).__qualname__
        raise NotImplementedError(
            f"the node class {name} has no 'exec'; "
            "write 'async def exec(self, ctx, prepared)' in it and return the output"
        )

    async def fallback(self, ctx: NodeContext[In], error: BaseException) -> Out:
        """Give a result in place of the ``exec`` that failed; raises the error by default."""
        del ctx
        raise error

    async def post(self, ctx: NodeContext[In], result: Out) -> NodeResult[Out]:
        """Turn the result into what the node returns, for example to choose an action."""
        del ctx
        if isinstance(result, NodeResult):
            return cast("NodeResult[Out]", result)
        return NodeResult(output=result)

    async def recover(self, ctx: NodeContext[In], error: BaseException) -> None:
        """Clean up after an error that fails the attempt; does nothing by default."""


@overload
def node(implementation: F, /) -> F: ...


@overload
def node(*, uses: str | None = None, input: Any = None, output: Any = None) -> Callable[[F], F]: ...


def node(
    implementation: F | None = None,
    /,
    *,
    uses: str | None = None,
    input: Any = None,
    output: Any = None,
) -> F | Callable[[F], F]:
    """Mark a function or class as a node; it stays what it is and can be called as before.

    Args:
        implementation: The function or class, when used without arguments: ``@node``.
        uses: The key that blueprints name it by; by default its module and name.
        input: The type the input is decoded into; by default the ``Order`` of an annotation
            ``ctx: NodeContext[Order]``.
        output: The type of the output; by default the annotated return type.
    """

    def mark(marked: F) -> F:
        given = {
            "__flowcraft_uses__": uses,
            "__flowcraft_input__": input,
            "__flowcraft_output__": output,
        }
        for name, value in given.items():
            if value is not None:
                setattr(marked, name, value)
        return marked

    return mark if implementation is None else mark(implementation)


@dataclass(frozen=True, slots=True)
class Implementation:
    """A callable or class that does the work of nodes, and what is known about it.

    Attributes:
        call: What to call with the context; for a class, what makes an instance.
        kind: ``async`` functions run in the event loop, ``sync`` ones in a thread, classes are
            made anew for each execution. What a call returns is awaited if it is awaitable.
        name: ``module.qualname``, for messages.
        uses: The key given by ``@node(uses=...)``, or None.
        plain_steps: Of a class, the steps that are plain methods and run in a thread.
    """

    call: Callable[..., Any]
    kind: Kind
    name: str
    uses: str | None = None
    plain_steps: frozenset[str] = frozenset()
    _types: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def input_type(self) -> Any:
        """The annotation to decode the input into; None where there is none, or ``Any``.

        Raises:
            InputError: The annotation cannot be resolved.
        """
        try:
            return self._types["input"]
        except KeyError:
            return self._types.setdefault("input", _input_type(self))

    @property
    def output_type(self) -> Any:
        """The annotated type of the output; None where it is not known, or ``Any``."""
        try:
            return self._types["output"]
        except KeyError:
            return self._types.setdefault("output", _output_type(self))


def describe(implementation: Any) -> Implementation:
    """Find out what kind of node a callable or class is; cached on the function or class.

    Args:
        implementation: A function, plain or async, that takes the context; anything that can
            be called like one (method, partial, object with ``__call__``); a subclass of
            :class:`Node`, or a partial of one that gives it arguments.

    Raises:
        FlowcraftError: It cannot be a node; the message says why. Annotations are not looked at
            before ``input_type`` or ``output_type`` is asked for.
    """
    if isinstance(implementation, Implementation):
        return implementation
    cached = getattr(implementation, _CACHE, None)
    # Subclasses and wrappers inherit or copy the attribute, but are something else.
    if isinstance(cached, Implementation) and cached.call is implementation:
        return cached
    described = _described(implementation)
    if isinstance(implementation, (FunctionType, type)):
        setattr(implementation, _CACHE, described)
    return described


def _described(implementation: Any) -> Implementation:
    if isinstance(implementation, Node):
        name = type(implementation).__qualname__
        raise _not_a_node(
            implementation,
            f"it is an instance; pass the class {name}, or functools.partial({name}, ...): "
            "each execution makes an instance of its own",
        )
    if not callable(implementation):
        raise _not_a_node(implementation, "it cannot be called; pass a function or a Node class")
    function = plain_function(implementation)
    name, uses = _name(implementation), _explicit_uses(implementation)
    if isinstance(function, type):
        _check_class(implementation, function)
        return Implementation(implementation, "class", name, uses, _plain_steps(function))
    _check_function(implementation, function)
    kind: Kind = "async" if _is_async(implementation, function) else "sync"
    return Implementation(implementation, kind, name, uses)


def _check_class(implementation: Any, cls: type) -> None:
    if not issubclass(cls, Node):
        raise _not_a_node(
            implementation,
            "it is a class without the steps of a node; make it a subclass of flowcraft.Node, "
            "or pass a function",
        )


def _check_function(implementation: Any, function: Any) -> None:
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise _not_a_node(
            implementation, "it is a generator (it has 'yield'); return one value, such as a list"
        )
    try:
        parameters = list(inspect.signature(implementation).parameters.values())
    except (TypeError, ValueError):  # built-in functions may have no signature
        return
    if not parameters or parameters[0].kind not in _TAKES_CONTEXT:
        raise _not_a_node(
            implementation, "it takes no argument, but a node is called with its context: (ctx)"
        )
    needed = [item.name for item in parameters[1:] if _is_needed(item)]
    if needed:
        raise _not_a_node(
            implementation,
            f"it is called with its context alone, but asks for {', '.join(needed)} too; read "
            "them from ctx.input, ctx.params or ctx.dependency, or fix them by functools.partial",
        )


def _plain_steps(cls: type) -> frozenset[str]:
    methods = {step: getattr(cls, step) for step in STEPS}
    return frozenset(
        step for step, method in methods.items() if not _is_async(method, plain_function(method))
    )


def _is_needed(parameter: inspect.Parameter) -> bool:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and parameter.kind not in variable


def _is_async(implementation: Any, function: Any) -> bool:
    # A plain wrapper around an async function returns its coroutine: async as well.
    outer = implementation.func if isinstance(implementation, partial) else implementation
    if not inspect.isroutine(outer):
        outer = type(outer).__call__
    return inspect.iscoroutinefunction(outer) or inspect.iscoroutinefunction(function)


def _input_type(described: Implementation) -> Any:
    given = _marked(described.call, "__flowcraft_input__")
    if given is not None:
        return known_type(given)
    if described.kind != "class":
        return context_input_type(described.call, described.name)
    cls = plain_function(described.call)
    arguments = class_arguments(cls, Node, described.name)
    found = known_type(arguments[0]) if arguments else None
    for step in ("prep", "exec"):
        if found is None and getattr(cls, step) is not getattr(Node, step):
            found = context_input_type(partial(getattr(cls, step), None), described.name)
    return found


def _output_type(described: Implementation) -> Any:
    given = _marked(described.call, "__flowcraft_output__")
    if given is not None:
        return known_type(given)
    if described.kind != "class":
        return return_type(described.call, NodeResult)
    cls = plain_function(described.call)
    arguments = class_arguments(cls, Node, described.name)
    found = known_type(arguments[1]) if arguments else None
    return found or return_type(cls.post if cls.post is not Node.post else cls.exec, NodeResult)


def _explicit_uses(implementation: Any) -> str | None:
    return cast("str | None", _marked(implementation, "__flowcraft_uses__"))


def _marked(implementation: Any, attribute: str) -> Any:
    """What ``@node`` noted, also on what a partial calls; a class does not inherit it."""
    while isinstance(implementation, partial):
        implementation = implementation.func
    if isinstance(implementation, type):
        return vars(implementation).get(attribute)
    return getattr(implementation, attribute, None)


def _name(implementation: Any) -> str:
    while isinstance(implementation, partial):
        implementation = implementation.func
    named = implementation if hasattr(implementation, "__qualname__") else type(implementation)
    return f"{named.__module__}.{named.__qualname__}"


def _not_a_node(implementation: Any, why: str) -> FlowcraftError:
    name = _name(implementation)
    return FlowcraftError(f"{name} cannot be a node: {why}", is_fatal=True)
