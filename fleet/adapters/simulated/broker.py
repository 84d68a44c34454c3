"""A mosquitto of one's own on loopback, for the demo and the tests: its settings are those that the docs recommend."""

import shutil
from pathlib import Path

HOST = "127.0.0.1"
ELSEWHERE = ("/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto")
# Nothing is dropped silently: QoS 1 queues hold what a slow gateway is behind, and a poison payload does not fit.
SETTINGS = """\
listener {port} {host}
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 100000
max_queued_bytes 0
message_size_limit {limit}
log_dest stderr
log_type error
log_type warning
"""


def mosquitto() -> str | None:
    """Where mosquitto is installed; Debian puts it beside the paths of users."""
    return shutil.which("mosquitto") or next((path for path in ELSEWHERE if Path(path).exists()), None)


def settings_of(port: int, *, limit: int = 16_000_000) -> str:
    """The configuration of a broker on this port of loopback."""
    return SETTINGS.format(port=port, host=HOST, limit=limit)
