"""Connections to PostgreSQL on which nobody waits for ever: for a server that is gone, or for somebody who holds rows and stands still."""

from typing import Any

from sqlalchemy.engine import URL

# Of libpq. A server whose machine or network is gone is known as gone after some 15 s, not after the hours of the system's
# own settings: whoever listens for the bell or waits for an answer would wait so long.
ALIVE = {
    "connect_timeout": 10,
    "keepalives_idle": 6,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
# Of the server. A process that stands still, or whose machine is gone, keeps the rows that it has locked no longer than
# this; only write transactions can be ended so, for reading ones are none here.
IDLE_MS = 60_000
_LIMIT = (
    "SELECT set_config('idle_in_transaction_session_timeout', %s, false) "
    "WHERE current_setting('idle_in_transaction_session_timeout') = '0'"
)


def alive(url: URL) -> dict[str, int]:
    """What a connection to `url` is opened with; what the address itself says counts."""
    return {name: value for name, value in ALIVE.items() if name not in url.query}


def limit(connection: Any, _record: object) -> None:
    """Let the server end transactions of a new connection in which nothing is done any more, unless it is told to anyway."""
    connection.execute(_LIMIT, [str(IDLE_MS)])
    connection.commit()
