"""Stored data becomes what a node's annotation promises: ``decode_as``.

Data never chooses a class here: the annotation, which is code, does. Nothing is guessed and
nothing is lost: ``True`` is not 1, ``"1"`` is not 1, ``1.5`` is not 1.
"""

from __future__ import annotations

import types
from collections import abc
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache, partial
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
    is_typeddict,
)

from flowcraft.engine import decode_containers as containers
from flowcraft.engine import decode_records as records
from flowcraft.engine import decode_scalars as scalars
from flowcraft.engine.decode_path import Decoder, Mismatch, Path, got
from flowcraft.errors import InputError

T = TypeVar("T")

_SEQUENCES: Final = frozenset(
    {list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable}
)
_SETS: Final[dict[Any, Callable[[Any], Any]]] = {
    set: set,
    frozenset: frozenset,
    abc.Set: set,
    abc.MutableSet: set,
}
_MAPPINGS: Final = frozenset({dict, abc.Mapping, abc.MutableMapping})


def decode_as(annotation: Any, value: Any, *, where: str = "input") -> Any:
    """Decode stored data into an annotated type.

    Understands ``None``, ``bool``, ``int``, ``float``, ``str``, ``bytes``, ``Decimal``,
    ``UUID``, dates and times (also from ISO 8601 text), enums (by value), ``Literal``, unions,
    lists, tuples, sets, dicts and their abstract forms, ``TypedDict``, ``NamedTuple`` and
    dataclasses (nested and generic ones too), pydantic models (by ``model_validate``),
    ``Annotated`` and ``NewType``. ``Any``, ``object`` and type variables take the value as it
    is; of any other class the value must be an instance already.

    An int becomes a float where that loses nothing, and a float a Decimal by its shortest
    text. Keys that a dataclass, ``NamedTuple`` or model does not have are left out.

    Args:
        annotation: The type; strings in it must have been resolved.
        value: A stored value, which the result may share parts of.
        where: What the value is, the root of the paths in errors.

    Raises:
        InputError: The value does not fit; the message gives the path, what was expected and
            what was there. Or the annotation is of a kind that cannot be decoded into.
    """
    try:
        return decoder_for(annotation)(value, Path(where))
    except Mismatch as mismatch:
        raise InputError(str(mismatch)) from mismatch.__cause__
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply to be decoded as {annotation!r}") from error


def restored(cls: type[T], data: Any) -> T:
    """An instance of a registered dataclass, enum or model, all of its fields as they were.

    Raises:
        InputError: The data does not fit the class.
    """
    instance = decode_as(cls, data, where=cls.__name__)
    if is_dataclass(cls) and not issubclass(cls, Enum):
        for item in fields(cls):
            if not item.init and item.name in data:
                object.__setattr__(instance, item.name, data[item.name])
    restored_instance: T = instance
    return restored_instance


def decoder_for(annotation: Any) -> Decoder:
    """The function that decodes into this annotation, compiled once."""
    try:
        return _compiled(annotation)
    except TypeError:  # an annotation that cannot be hashed, such as Annotated[int, [1]]
        return _compile(annotation)


@lru_cache(maxsize=2048, typed=True)
def _compiled(annotation: Any) -> Decoder:
    return _compile(annotation)


def _compile(annotation: Any) -> Decoder:
    if annotation is None or (isinstance(annotation, type) and annotation in scalars.DECODERS):
        return scalars.DECODERS[annotation]
    if annotation is Any or annotation is object or isinstance(annotation, TypeVar):
        return scalars.as_it_is
    if isinstance(annotation, NewType):
        return decoder_for(annotation.__supertype__)
    if hasattr(annotation, "__value__"):  # a 'type' statement, Python 3.12
        return decoder_for(annotation.__value__)
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        return decoder_for(arguments[0])
    if origin is Literal:
        return partial(scalars.decode_literal, arguments)
    if origin is Union or origin is types.UnionType:
        return _union(arguments)
    kind = origin or annotation
    if isinstance(kind, type):
        return _container(kind, arguments) or _class(kind, annotation)
    return partial(_unsupported, annotation)


def _union(members: tuple[Any, ...]) -> Decoder:
    options = tuple(
        containers.Option(member, get_origin(member) or member, decoder_for(member))
        for member in members
    )
    return partial(containers.decode_union, options)


def _container(kind: type, arguments: tuple[Any, ...]) -> Decoder | None:
    first = decoder_for(arguments[0]) if arguments else scalars.as_it_is
    if kind in _SEQUENCES:
        return partial(containers.decode_list, first)
    if kind in _SETS:
        return partial(containers.decode_set, _SETS[kind], first)
    if kind in _MAPPINGS:
        key_type, item_type = arguments or (str, Any)
        return partial(
            containers.decode_dict, key_type, decoder_for(key_type), decoder_for(item_type)
        )
    if kind is tuple:
        if not arguments or arguments[-1] is Ellipsis:
            return partial(containers.decode_tuple, first)
        items = () if arguments == ((),) else arguments
        return partial(containers.decode_fixed_tuple, tuple(map(decoder_for, items)))
    return None


def _class(kind: type, annotation: Any) -> Decoder:
    if hasattr(kind, "model_validate"):
        return records.ModelDecoder(kind)
    if issubclass(kind, Enum):
        return partial(scalars.decode_enum, kind)
    if is_dataclass(kind):
        return records.DataclassDecoder(kind, annotation, decoder_for)
    if is_typeddict(kind):
        return records.TypedDictDecoder(kind, annotation, decoder_for)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return records.NamedTupleDecoder(kind, annotation, decoder_for)
    return partial(_instance, kind)


def _instance(kind: type, value: Any, path: Path) -> Any:
    try:
        fits = isinstance(value, kind)
    except TypeError:  # a Protocol that cannot be checked
        fits = True
    if fits:
        return value
    raise Mismatch(
        path,
        f"expected an instance of {kind.__qualname__}, got {got(value)}; a class that is no "
        "dataclass, enum or pydantic model has to be registered with the serializer",
    )


def _unsupported(annotation: Any, _value: Any, path: Path) -> Any:
    raise Mismatch(path, f"nothing can be decoded into the annotation {annotation!r}")
