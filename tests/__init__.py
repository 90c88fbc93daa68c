"""The tests, by tier: each directory says in its name what it needs and shows."""
