"""Chaos: real workers on an emulator of AWS, killed, stopped, and told lies by a proxy.

    python -m tests.acceptance.chaos --runs 2000 --workers 3 --kill-every 2 --faults 0.05 --seed 1

``faults`` and ``proxy`` are the network, ``flows`` what is run and what has to come of it,
``ledger`` what nodes note, ``worker`` and ``fleet`` the processes, ``driver`` those who start runs
and answer, ``evidence`` and ``verdict`` what is looked at in the end, ``campaign`` all of it.
"""
