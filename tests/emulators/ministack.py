"""SQS, DynamoDB and S3 by ministack; and what else of AWS it has, where that is asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.emulators import child, install

SERVER = Path(__file__).with_name("serve_ministack.py")
SERVICES = ("sqs", "dynamodb", "dynamodbstreams", "s3")
STACK_SERVICES = ("cloudformation", "lambda", "iam", "events", "monitoring", "logs", "sts")
ENVIRONMENT = {
    "BIND_HOST": "127.0.0.1",
    # It listens on further ports, and on every interface, unless these are off.
    "IOT_MTLS_ENABLED": "0",
    "SFTP_ENABLED": "0",
    "LOG_LEVEL": "WARNING",
}


@contextmanager
def running(*more: str) -> Iterator[str]:
    """Run ministack, which is installed if it has to be.

    Args:
        *more: Services besides SQS, DynamoDB and S3.

    Yields:
        Its endpoint, for all of its services.
    """
    python = install.ministack()
    with tempfile.TemporaryDirectory(prefix="ministack-") as name:
        log = Path(name) / "log"
        # What it puts on disk goes when it goes.
        environment = ENVIRONMENT | {"TMPDIR": name, "S3_DATA_DIR": f"{name}/s3"}
        environment["SERVICES"] = ",".join([*SERVICES, *more])
        # Isolated (-I), since this module's name beside the script would hide the package.
        command = [str(python), "-I", str(SERVER)]
        with child.running("ministack", command, log, environment) as endpoint:
            yield endpoint
