"""All ablations, by their names."""

from __future__ import annotations

from typing import Final

from tests.ablations import messages, others, records
from tests.ablations.switch import Ablation

MODULES: Final = (messages, records, others)
ALL: Final[dict[str, Ablation]] = {
    each.name: each for module in MODULES for each in module.ABLATIONS
}

ABLATIONS: Final = {name: each for name, each in ALL.items() if not each.unseen}
"""Those that have to be noticed."""
