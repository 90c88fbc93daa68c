"""Serve ministack on a free port of 127.0.0.1; runs in ministack's own environment.

ministack's command cannot be given a port that is free for sure. Here the port is bound first,
written to standard output as an endpoint, and then told to ministack, which puts it into the
addresses of queues.
"""

from __future__ import annotations

import os
import socket


def main() -> None:
    """Bind, tell, and serve until a signal comes."""
    # asyncio sends small answers at once only where the protocol is named. Else each waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    port = listener.getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    os.environ["GATEWAY_PORT"] = str(port)
    # Both read the environment when they are imported.
    import uvicorn  # noqa: PLC0415
    from ministack.app import app  # noqa: PLC0415

    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        # ministack sends them itself, and a date that comes twice is none.
        date_header=False,
        server_header=False,
        # Clients keep connections longer than uvicorn's 5 s, and would run into one just closed.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
