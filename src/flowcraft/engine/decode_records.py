"""Decoders of classes with named fields: dataclasses, TypedDicts, NamedTuples, models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from inspect import signature
from typing import (
    Any,
    NamedTuple,
    NotRequired,
    Required,
    get_args,
    get_origin,
    get_type_hints,
)

from flowcraft.core.value_types import say
from flowcraft.engine.annotations import substituted
from flowcraft.engine.decode_path import Decoder, Mismatch, Path, expected, got

DecoderFor = Callable[[Any], Decoder]


class Field(NamedTuple):
    """A field of a record."""

    name: str
    decode: Decoder
    required: bool


class _Record:
    """A class with fields.

    Its annotations are resolved at the first value, for it may be used in its own fields, or be
    compiled before the classes it refers to are defined.
    """

    def __init__(self, kind: Any, annotation: Any, decoder_for: DecoderFor) -> None:
        self.kind = kind
        self._annotation = annotation
        self._decoder_for = decoder_for

    def __call__(self, value: Any, path: Path) -> Any:
        raise NotImplementedError

    def _hints(self, path: Path) -> dict[str, Any]:
        try:
            hints = get_type_hints(self.kind, include_extras=True)
        except Exception as error:
            raise Mismatch(
                path,
                f"the annotations of {self.kind.__qualname__} cannot be resolved at run time "
                f"({error}); import their names outside of 'if TYPE_CHECKING', at module level",
            ) from error
        known = self._type_arguments()
        return {name: substituted(hint, known) for name, hint in hints.items()}

    def _type_arguments(self) -> dict[Any, Any]:
        parameters = getattr(self.kind, "__parameters__", ())
        return dict(zip(parameters, get_args(self._annotation), strict=False))

    def _decoded(
        self, known: tuple[Field, ...], data: Mapping[str, Any], path: Path
    ) -> dict[str, Any]:
        """The fields that the data has, decoded."""
        values: dict[str, Any] = {}
        for field in known:
            if field.name in data:
                values[field.name] = field.decode(data[field.name], Path(field.name, path))
            elif field.required:
                raise Mismatch(
                    path, f"'{field.name}' is missing, which {self.kind.__qualname__} needs"
                )
        return values

    def _made(self, values: dict[str, Any], path: Path) -> Any:
        try:
            return self.kind(**values)
        except Exception as error:
            raise Mismatch(path, f"{self.kind.__qualname__} refused it: {say(error)}") from error


class DataclassDecoder(_Record):
    """From a dict of fields; fields with ``init=False`` are left to the class."""

    _fields: tuple[Field, ...] | None = None

    def __call__(self, value: Any, path: Path) -> Any:
        """Decode; an instance is taken as it is."""
        if isinstance(value, self.kind):
            return value
        if not isinstance(value, dict):
            raise expected(f"dict ({self.kind.__qualname__})", value, path)
        if self._fields is None:
            hints = self._hints(path)
            self._fields = tuple(
                Field(
                    item.name,
                    self._decoder_for(hints[item.name]),
                    item.default is MISSING and item.default_factory is MISSING,
                )
                for item in fields(self.kind)
                if item.init
            )
        return self._made(self._decoded(self._fields, value, path), path)


class NamedTupleDecoder(_Record):
    """From a list of values in order, which is how they are stored, or a dict of fields."""

    _fields: tuple[Field, ...] | None = None

    def __call__(self, value: Any, path: Path) -> Any:
        """Decode; an instance is taken as it is."""
        if isinstance(value, self.kind):
            return value
        names = self.kind._fields
        if isinstance(value, (list, tuple)) and len(value) <= len(names):
            value = dict(zip(names, value, strict=False))
        if not isinstance(value, dict):
            raise expected(f"list of {len(names)} ({self.kind.__qualname__})", value, path)
        if self._fields is None:
            hints = self._hints(path)
            defaults = self.kind._field_defaults
            self._fields = tuple(
                Field(name, self._decoder_for(hints.get(name, Any)), name not in defaults)
                for name in names
            )
        return self._made(self._decoded(self._fields, value, path), path)


class TypedDictDecoder(_Record):
    """From a dict; keys that it does not name are kept as they are."""

    _fields: tuple[Field, ...] | None = None

    def __call__(self, value: Any, path: Path) -> Any:
        """Decode into a new dict."""
        if not isinstance(value, dict):
            raise expected(f"dict ({self.kind.__qualname__})", value, path)
        if self._fields is None:
            self._fields = tuple(
                self._field(name, hint) for name, hint in self._hints(path).items()
            )
        return {**value, **self._decoded(self._fields, value, path)}

    def _field(self, name: str, hint: Any) -> Field:
        required = name in self.kind.__required_keys__
        # What Python itself works out is wrong where annotations are strings.
        while (qualifier := get_origin(hint)) is Required or qualifier is NotRequired:
            required = qualifier is Required
            (hint,) = get_args(hint)
        return Field(name, self._decoder_for(hint), required)


class ModelDecoder:
    """From what a pydantic model takes, by its own validation."""

    def __init__(self, model: Any) -> None:
        self.model = model
        # Models are stored by field name; data from outside comes by alias.
        knows_names = "by_name" in signature(model.model_validate).parameters
        self._options = {"by_name": True, "by_alias": True} if knows_names else {}

    def __call__(self, value: Any, path: Path) -> Any:
        """Decode; an instance is taken as it is."""
        if isinstance(value, self.model):
            return value
        try:
            return self.model.model_validate(value, **self._options)
        except Exception as error:
            raise _model_mismatch(self.model, value, path, error) from error


def _model_mismatch(model: Any, value: Any, path: Path, error: Exception) -> Mismatch:
    name = getattr(model, "__qualname__", str(model))
    try:
        problems = error.errors()  # type: ignore[attr-defined]
        first = problems[0]
        for step in first["loc"]:
            path = Path(step, path)
        text = f"{first['msg']} ({name}), got {got(first.get('input', value))}"
    except (AttributeError, LookupError, TypeError):
        return Mismatch(path, f"{name} refused it: {say(error)}")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Mismatch(path, f"{text}{more}")
