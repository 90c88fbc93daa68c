"""Each safeguard of durable runs taken away: the simulation has to notice, every time."""
