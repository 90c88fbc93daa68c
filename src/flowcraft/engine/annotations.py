"""What the annotations of a node say about the types of its input and output.

Nothing is resolved before it is needed: a module's later classes are known by then, and a node
whose types nobody asks for cannot fail over an annotation.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from flowcraft.errors import InputError

T = TypeVar("T")
_NOTHING = inspect.Parameter.empty


class _AnyContext(Generic[T]):
    """Stands in for the context classes where a module imports them only for type checking."""

    __flowcraft_context__ = True


_STAND_INS: Mapping[str, Any] = {"NodeContext": _AnyContext, "SyncNodeContext": _AnyContext}


def plain_function(call: Any) -> Any:
    """The function behind partials, decorators that use ``wraps``, methods and ``__call__``."""
    while True:
        if isinstance(call, partial):
            call = call.func
        elif inspect.ismethod(call):
            call = call.__func__
        elif hasattr(call, "__wrapped__"):
            call = inspect.unwrap(call)
        elif inspect.isroutine(call) or isinstance(call, type):
            return call
        else:
            call = type(call).__call__


def context_input_type(call: Callable[..., Any], name: str) -> Any:
    """The ``Order`` of a first parameter ``ctx: NodeContext[Order]``, or None.

    Raises:
        InputError: The annotation names something that cannot be found at run time.
    """
    function = plain_function(call)
    try:
        parameter = next(iter(inspect.signature(call).parameters.values()), None)
    except (TypeError, ValueError):  # built-in functions may have no signature
        return None
    if parameter is None or parameter.annotation is _NOTHING:
        return None
    annotation = parameter.annotation
    try:
        resolved = _resolve(annotation, _names_of(function))
    except Exception as error:
        if isinstance(annotation, str) and "[" not in annotation:
            return None  # it promises no input type, so nothing is lost
        raise _unresolved(annotation, parameter.name, name, error) from error
    return _context_argument(resolved)


def return_type(call: Callable[..., Any], result_class: type) -> Any:
    """The annotated type of the output, or None; ``result_class[X]`` and awaitables of X are X."""
    function = plain_function(call)
    annotation = getattr(function, "__annotations__", {}).get("return", _NOTHING)
    if annotation is _NOTHING:
        return None
    names = {result_class.__name__: result_class, **_names_of(function)}
    try:
        resolved = _resolve(annotation, names)
    except Exception:  # the output type is for tools; a node runs without it
        return None
    return _output_of(resolved, result_class)


def class_arguments(cls: type, base: type, name: str) -> tuple[Any, ...]:
    """The arguments that a class gives to its generic ``base``, through classes in between.

    Raises:
        InputError: An argument names something that cannot be found at run time.
    """
    for parent in vars(cls).get("__orig_bases__", cls.__bases__):
        origin = get_origin(parent) or parent
        if not (isinstance(origin, type) and issubclass(origin, base)):
            continue
        arguments = tuple(_class_argument(cls, item, name) for item in get_args(parent))
        if origin is base:
            return arguments
        known = dict(zip(getattr(origin, "__parameters__", ()), arguments, strict=False))
        return tuple(substituted(item, known) for item in class_arguments(origin, base, name))
    return ()


def known_type(annotation: Any) -> Any:
    """The annotation, or None where it says nothing: ``Any``, ``object`` or a type variable."""
    if annotation is Any or annotation is object or isinstance(annotation, TypeVar):
        return None
    return annotation


def substituted(hint: Any, known: dict[Any, Any]) -> Any:
    """The hint with arguments in place of type variables; unknown ones are ``Any``."""
    if isinstance(hint, TypeVar):
        return known.get(hint, Any)
    parameters = getattr(hint, "__parameters__", ())
    if not known or not parameters or isinstance(hint, type):
        return hint
    return hint[tuple(known.get(parameter, Any) for parameter in parameters)]


def _class_argument(cls: type, argument: Any, name: str) -> Any:
    module = sys.modules.get(cls.__module__)
    try:
        return _resolve(argument, vars(module) if module else {})
    except Exception as error:
        raise _unresolved(argument, "its base class", name, error) from error


def _names_of(function: Any) -> dict[str, Any]:
    """What the annotations of a function can refer to."""
    cells = getattr(function, "__closure__", None) or ()
    free = getattr(getattr(function, "__code__", None), "co_freevars", ())
    enclosed = {}
    for key, cell in zip(free, cells, strict=False):
        try:
            enclosed[key] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return {**_STAND_INS, **getattr(function, "__globals__", {}), **enclosed}


def _resolve(annotation: Any, names: Mapping[str, Any]) -> Any:
    holder: Any = SimpleNamespace(__annotations__={"it": annotation})
    return get_type_hints(holder, globalns=dict(names), include_extras=True)["it"]


def _context_argument(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    origin = get_origin(annotation)
    if not getattr(origin, "__flowcraft_context__", False):
        return None
    return known_type(next(iter(get_args(annotation)), None))


def _output_of(annotation: Any, result_class: type) -> Any:
    wrappers = (result_class, Awaitable, Coroutine)
    while get_origin(annotation) in wrappers:
        annotation = get_args(annotation)[-1]
    return None if annotation is result_class else known_type(annotation)


def _unresolved(annotation: Any, place: str, name: str, error: Exception) -> InputError:
    shown = annotation if isinstance(annotation, str) else repr(annotation)
    return InputError(
        f"the input type of node '{name}' is unknown: the annotation {shown!r} of {place} "
        f"cannot be resolved at run time ({error}); import its names outside of "
        "'if TYPE_CHECKING', at the top of the module, or give the type: @node(input=...)"
    )
