"""What a fleet needs on AWS: planned, applied, destroyed, and written as a template.

::

    fleet = Fleet("orders", bucket="orders-payloads", point_in_time_recovery=True)
    async with Provisioner(fleet, sqs_client=sqs, dynamodb_client=dynamodb, s3_client=s3) as made:
        for difference in (await made.plan()).differences:
            print(difference)
        await made.apply()
"""

from __future__ import annotations

from flowcraft.provisioning.destruction import Destruction, Removal
from flowcraft.provisioning.differences import Difference, Plan
from flowcraft.provisioning.functions import Functions
from flowcraft.provisioning.model import Fleet, Queue, Table
from flowcraft.provisioning.provisioner import Applied, Provisioner
from flowcraft.provisioning.template import template

__all__ = [
    "Applied",
    "Destruction",
    "Difference",
    "Fleet",
    "Functions",
    "Plan",
    "Provisioner",
    "Queue",
    "Removal",
    "Table",
    "template",
]
