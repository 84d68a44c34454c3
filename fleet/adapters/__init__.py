"""The registry of adapters: one line each; packages outside join by the entry-point groups `yardmaster.adapters` (opens a
link), `yardmaster.push_adapters` (opens a link within a gateway) and `yardmaster.translators` (reads raw bytes).

The adapter is imported when an account of its manufacturer is opened, so that a process pays only for links it uses.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from fleet.adapter import Adapter, AdapterAccount, Reported
from fleet.errors import NotFound
from fleet.push import PushOpener

ADAPTERS: dict[str, str] = {
    "simulated": "fleet.adapters.simulated.adapter:open_adapter",
}
# These speak up by themselves and are opened by a gateway.
PUSH: dict[str, str] = {
    "ros2": "fleet.adapters.ros2.adapter:open_push",
    "vda5050": "fleet.adapters.vda5050.adapter:open_push",
}
# Reading a stored delivery needs no link, so it has its own line.
TRANSLATORS: dict[str, str] = {
    "simulated": "fleet.adapters.simulated.translate:events_from",
    "ros2": "fleet.push:events_from",
    "vda5050": "fleet.push:events_from",
}

Opener = Callable[[AdapterAccount], AbstractAsyncContextManager[Adapter]]
Translator = Callable[[bytes], Sequence[Reported]]


def opener(manufacturer: str) -> Opener:
    """What opens a link to this manufacturer's robots.

    Raises:
        NotFound: no adapter of that name; names the known ones.
    """
    found: Opener = _registered("yardmaster.adapters", ADAPTERS, manufacturer)
    return found


def push_opener(manufacturer: str) -> PushOpener:
    """What opens a link to this manufacturer's robots within a gateway.

    Raises:
        NotFound: no push adapter of that name; names the known ones.
    """
    found: PushOpener = _registered("yardmaster.push_adapters", PUSH, manufacturer)
    return found


@cache
def push_manufacturers() -> frozenset[str]:
    """The manufacturers whose robots a gateway reaches."""
    return frozenset({point.name for point in entry_points(group="yardmaster.push_adapters")} | set(PUSH))


@cache
def translator(manufacturer: str) -> Translator:
    """The pure function that says what a raw delivery of this manufacturer means.

    Raises:
        NotFound: no adapter of that name; names the known ones.
    """
    found: Translator = _registered("yardmaster.translators", TRANSLATORS, manufacturer)
    return found


def _registered(group: str, ours: dict[str, str], manufacturer: str) -> Any:
    outside = {point.name: point.value for point in entry_points(group=group)}
    target = (outside | ours).get(manufacturer)
    if target is None:
        known = ", ".join(sorted(outside | ours))
        raise NotFound(f"There is no adapter {manufacturer!r}; known: {known}.", manufacturer=manufacturer)
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)
