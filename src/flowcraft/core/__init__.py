"""The pure heart: the format, and the decisions about runs. No I/O, clock, randomness or async."""
