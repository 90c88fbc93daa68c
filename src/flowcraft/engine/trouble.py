"""What the log has of trouble with queue and stores."""

from __future__ import annotations

import logging

from flowcraft.errors import StorageError


def log_trouble(logger: logging.Logger, error: BaseException, text: str, *values: object) -> None:
    """Log an error that is not the end: of stores what they say, of anything else where it was.

    A ``StorageError`` says what cannot be used and what to do, and comes again with every try:
    where it was raised says nothing more, and at length.

    Args:
        logger: Where to.
        error: What happened.
        text: What became of it, with places for values.
        values: The values.
    """
    if isinstance(error, StorageError):
        logger.error(f"{text}: %s", *values, error)
    else:
        logger.error(text, *values, exc_info=error)
