"""What the engine costs per node, beside a bare event loop and other engines.

`make bench` runs everything; docs/benchmarks.md describes the method and how to read the table.
"""
