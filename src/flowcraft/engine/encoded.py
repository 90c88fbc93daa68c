"""What marks a payload as encoded, so that whoever cannot decode it says so."""

from __future__ import annotations

from typing import Final

from flowcraft.errors import CodecError

MARK: Final = "encoded:"
"""Stands before whatever a codec has encoded; JSON never begins like that."""


def plain(text: str, what: str) -> str:
    """A payload as it is, where it has to be plain by now.

    Args:
        text: The payload.
        what: What it is, for the error.

    Raises:
        CodecError: It is encoded.
    """
    if text.startswith(MARK):
        raise CodecError(
            f"{what} is encoded, and this process has no codec. Give it the codec, and the key, "
            "that the others have."
        )
    return text
