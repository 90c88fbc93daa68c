"""What expressions gave when a fact was written, so that the fact means the same for ever.

A fact says which edges were taken. They follow from conditions and transforms, which are
evaluated by whatever evaluator the user plugged in, on the context as the writer knew it. So what
the evaluator gave is written down with the fact, and whoever reads the fact later, another
version of the code or a client without any evaluator, goes by that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowcraft.core.expressions import Evaluator, is_truthy
from flowcraft.core.values import CodecLookup, snapshot
from flowcraft.errors import ExpressionError, SerializationError

Recording = list[list[Any]]
"""For each evaluation ``[value]``, or ``[None, message]`` for one that failed."""


class Tape:
    """An evaluator that records what another one gives, or plays back what it gave.

    Args:
        evaluator: The one that really evaluates.
        registered: Finds the codec of a type that the user registered.
    """

    def __init__(self, evaluator: Evaluator, registered: CodecLookup | None) -> None:
        self._evaluator = evaluator
        self.paths_only = bool(getattr(evaluator, "paths_only", False))
        self._registered = registered
        self._recording: Recording = []
        self._playing: list[list[Any]] = []

    def record(self) -> Recording:
        """Begin to record; what is given from now on is put into the list returned."""
        self._playing = []
        self._recording = []
        return self._recording

    def play(self, recording: Recording) -> None:
        """Give from now on what was recorded; past its end, what the evaluator gives."""
        self._playing = list(reversed(recording))
        self._recording = []

    def evaluate(self, expression: str, context: Mapping[str, Any]) -> Any:
        """The value of an expression, recorded or played back."""
        if self._playing:
            value, *error = self._playing.pop()
            if error:
                raise ExpressionError(error[0])
            return value
        try:
            value = self._stored(self._evaluator.evaluate(expression, context))
        except ExpressionError as error:
            self._recording.append([None, str(error)])
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self._recording.append([None, text])
            raise ExpressionError(text) from error
        self._recording.append([value])
        return value

    def _stored(self, value: Any) -> Any:
        """The value as it can be written down; of anything else whether it counts as true."""
        try:
            return snapshot(value, registered=self._registered)
        except SerializationError:
            return bool(is_truthy(value))
