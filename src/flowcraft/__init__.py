"""Flowcraft for Python: workflows as graphs of nodes, in one process, on one machine, on AWS."""
