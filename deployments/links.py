"""What a platform of one machine needs so that its robots can be reached: a DDS domain to itself, and a broker if there is one.

DDS has no ports to choose: the domain id stands for a block of UDP ports (DDSI-RTPS 9.6.1.1: 7400 + 250 * id, then 10 + 2
for each participant). Two platforms of one machine must not hear each other, nor a robot that is tried out beside them.
"""

import shutil
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployments.ports import HOST
from fleet.errors import Unavailable

DOMAINS = range(42, 100)  # beyond 101 the ports reach into those that Linux hands out by itself
PORTS_BEGIN, PORTS_PER_DOMAIN, UNICAST_BEGIN = 7400, 250, 10
PARTICIPANTS = 20  # site, gateway, and whoever looks on: a probe, `ros2 topic list`, a second gateway
MARK = 5  # a port of the block that DDS never uses; who holds it holds the domain
GATEWAY = "north-plant gateway"
BROKER = "mosquitto"
BROKER_CONFIG = """# Written at every start. One machine, one platform: nobody from outside, nothing dropped in silence. It belongs to who
# started it: the user counts for root alone, and a change of user would take away that it ends with its launcher.
listener {port} {host}
allow_anonymous true
persistence false
user root
log_dest stderr
max_queued_messages 100000
max_inflight_messages 100
message_size_limit 1000000
"""


@dataclass(frozen=True)
class Links:
    """How the robots of a platform are reached; `mqtt_url` is empty where no broker is installed."""

    domain: int
    mqtt_url: str = ""

    @property
    def ros2_url(self) -> str:
        """The address of the robots that speak ROS 2."""
        return f"dds://?domain={self.domain}&peers={HOST}&interface={HOST}&participants={PARTICIPANTS - 1}"


@contextmanager
def own_domain() -> Iterator[int]:
    """A DDS domain id whose ports nobody uses, kept from other platforms of this machine until the block ends.

    Raises:
        Unavailable: all of them are in use.
    """
    for domain in DOMAINS:
        mark = _bound(_port(domain, MARK))
        if mark is None:
            continue
        with closing(mark):
            if _is_quiet(domain):
                yield domain
                return
    raise Unavailable(
        f"All DDS domains from {DOMAINS.start} to {DOMAINS.stop - 1} are in use on this machine; stop a platform or a robot."
    )


def broker_command() -> str | None:
    """Where the MQTT broker is installed, if it is. Debian keeps it in sbin, which is not on everybody's path."""
    return shutil.which(BROKER) or shutil.which(BROKER, path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


def write_broker_config(folder: Path, port: int) -> Path:
    """What the broker is started with; gives where."""
    path = folder / "mosquitto.conf"
    path.write_text(BROKER_CONFIG.format(port=port, host=HOST))
    return path


def answers(port: int) -> bool:
    """Whether somebody listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def _is_quiet(domain: int) -> bool:
    ports = range(_port(domain, UNICAST_BEGIN), _port(domain, UNICAST_BEGIN + 2 * PARTICIPANTS))
    for port in ports:
        found = _bound(port)
        if found is None:
            return False
        found.close()
    return True


def _port(domain: int, offset: int) -> int:
    return PORTS_BEGIN + PORTS_PER_DOMAIN * domain + offset


def _bound(port: int) -> socket.socket | None:
    """A UDP socket on all addresses, as DDS binds it; None when somebody has it."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        bound.bind(("", port))
    except OSError:
        bound.close()
        return None
    return bound
