"""Run a command for as long as somebody holds the other end of standard input.

An emulator outlives its parent if that is killed, which is what happens to a test run that hangs.
So it is started through this: `python leash.py COMMAND …`. When standard input ends, the command
is asked to end, and after some seconds the whole process group is killed.

It runs with the standard library alone, and without the rest of this package.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

PATIENCE_SECONDS = 3.0


def main(command: list[str]) -> int:
    """Run the command until it ends or standard input does; its exit code."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_watch, args=(process,), daemon=True).start()
    return process.wait()


def _watch(process: subprocess.Popen[bytes]) -> None:
    # Not by sys.stdin, whose lock would be held when the interpreter ends.
    while os.read(0, 1024):
        pass
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_SECONDS)
    # With it whatever it has started, and this process too.
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
