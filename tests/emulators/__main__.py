"""`python -m tests.emulators`: run ministack until Ctrl-C; with `install`, install and end."""

from __future__ import annotations

import signal
import sys

from tests.emulators import install, ministack


def main(arguments: list[str]) -> int:
    """Do what the command says; 0 unless something that is needed is missing."""
    match arguments:
        case []:
            return serve()
        case ["install"]:
            return fetch()
        case _:
            print("usage: python -m tests.emulators [install]", file=sys.stderr)
            return 2


def serve() -> int:
    """Run ministack, and write its endpoint as a line of its own."""
    # As Ctrl-C: what is to be left behind in order is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ministack.running() as endpoint:
            print(endpoint, flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass
    return 0


def fetch() -> int:
    """Install ministack, and DynamoDB Local where it can run."""
    install.ministack()
    try:
        install.dynamodb_local()
    except install.CannotInstall as reason:
        if install.REQUIRED:
            print(reason, file=sys.stderr)
            return 1
        print(f"Left out, and with it the tests that use it: {reason}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
