"""What the engine needs from the outside, as small protocols."""
