"""Tests of the repository itself: sizes, purity, hygiene."""
