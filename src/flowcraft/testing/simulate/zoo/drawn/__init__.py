"""Workflows that are drawn by lot: of everything the format has, decided by a number."""

from flowcraft.testing.simulate.zoo.drawn.stories import RANDOM, Drawing, drawing, drawn_story

__all__ = ["RANDOM", "Drawing", "drawing", "drawn_story"]
