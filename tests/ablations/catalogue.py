"""All ablations, by their names."""

from __future__ import annotations

from typing import Final

from tests.ablations import messages, others, records
from tests.ablations.switch import Ablation

ABLATIONS: Final[dict[str, Ablation]] = {
    each.name: each for module in (messages, records, others) for each in module.ABLATIONS
}
