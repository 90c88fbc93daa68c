"""Testing aids for users: virtual time."""

from flowcraft.testing.clock import VirtualClock

__all__ = ["VirtualClock"]
