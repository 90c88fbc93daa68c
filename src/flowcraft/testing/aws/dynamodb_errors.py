"""How the fake of DynamoDB refuses a request, before the transport's error is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """A request is not carried out.

    Attributes:
        code: What AWS calls the error.
        message: What happened, and where.
        answer: What the answer holds beside code and message.
    """

    def __init__(self, code: str, message: str, answer: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.answer = dict(answer or {})


def refused(message: str) -> Refusal:
    """A request that DynamoDB finds wrong, whatever is stored."""
    return Refusal("ValidationException", message)
