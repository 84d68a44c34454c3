"""The registry of adapters: one line each; packages outside join by the entry-point group `yardmaster.adapters`.

The adapter is imported when an account of its manufacturer is opened, so that a process pays only for links it uses.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from importlib.metadata import entry_points

from fleet.adapter import Adapter, AdapterAccount
from fleet.errors import NotFound

ADAPTERS: dict[str, str] = {
    "simulated": "fleet.adapters.simulated.adapter:open_adapter",
}

Opener = Callable[[AdapterAccount], AbstractAsyncContextManager[Adapter]]


def opener(manufacturer: str) -> Opener:
    """What opens a link to this manufacturer's robots.

    Raises:
        NotFound: no adapter of that name; names the known ones.
    """
    outside = {point.name: point.value for point in entry_points(group="yardmaster.adapters")}
    target = (outside | ADAPTERS).get(manufacturer)
    if target is None:
        known = ", ".join(sorted(outside | ADAPTERS))
        raise NotFound(f"There is no adapter {manufacturer!r}; known: {known}.", manufacturer=manufacturer)
    module, _, name = target.partition(":")
    found: Opener = getattr(import_module(module), name)
    return found
