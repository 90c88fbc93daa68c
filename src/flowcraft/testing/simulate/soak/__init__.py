"""A soak: a week of traffic in virtual time, with deploys, deaths and people who are late."""

from flowcraft.testing.simulate.soak.soak import Report, soak

__all__ = ["Report", "soak"]
