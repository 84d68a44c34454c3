"""The API process: `python -m api.serve --host 127.0.0.1 --port 8000`."""

import argparse
import gc
import signal
import socket
import sys

import structlog
import uvicorn

from api.app import create_app
from api.connection import BoundedConnection
from fleet.errors import Conflict, YardmasterError
from fleet.link_frames import FRAME_MAX_BYTES
from fleet.runtime import open_runtime

log = structlog.get_logger(__name__)

BACKLOG = 2048
# Requests under way get this long after SIGTERM; with the writer's own end it stays below 5 s.
GRACE_S = 3


def main() -> None:
    """Serve until SIGTERM or SIGINT; exits 0 then, and 2 with one sentence when it cannot start."""
    wanted = _arguments()
    try:
        runtime = open_runtime()
        listening = listen(wanted.host, wanted.port)
    except YardmasterError as error:
        sys.exit(_refusal(error))
    # uvicorn raises the signal again after its orderly end; then it must not end us in disorder.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    host, port = listening.getsockname()[:2]
    log.info("api listens", url=f"http://{host}:{port}", docs=f"http://{host}:{port}/docs")
    app = create_app(runtime)
    gc.collect()
    gc.freeze()  # what was loaded until now stays: a full collection walks over it no more, which held up requests for 50 ms
    server(app).run(sockets=[listening])
    runtime.engine.dispose()
    log.info("api stopped")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m api.serve", description="Serve Yardmaster's HTTP API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 takes a free one")
    return parser.parse_args()


def _refusal(error: YardmasterError) -> int:
    sys.stderr.write(f"The API cannot start: {error.message}\n")
    return 2


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that a port in use is told before anything else is started.

    Raises:
        Conflict: the port is taken, or not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        bound.close()
        raise Conflict(
            f"{host}:{port} cannot be listened on ({error}); end what uses it or take another --port."
        ) from error
    return bound


def server(app: object) -> uvicorn.Server:
    """The server for `app`, quiet: the app logs its own requests."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=BoundedConnection,
        ws="websockets-sansio",
        ws_max_size=FRAME_MAX_BYTES,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S,
        backlog=BACKLOG,
    )
    return uvicorn.Server(config)


if __name__ == "__main__":
    main()
