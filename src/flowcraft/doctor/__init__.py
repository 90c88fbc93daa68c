"""Looks at a fleet on AWS, or at a file of runs, and says what is wrong and what helps.

It changes nothing: what it asks for only reads, or cannot succeed. What looks at a fleet is in
``flowcraft.doctor.fleet``, which needs boto3.
"""

from __future__ import annotations

from flowcraft.doctor.file import RunsFile, examine_file
from flowcraft.doctor.findings import Diagnosis, Finding, Severity

__all__ = ["Diagnosis", "Finding", "RunsFile", "Severity", "examine_file"]
