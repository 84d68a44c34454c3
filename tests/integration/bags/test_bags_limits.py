"""A batch of bags in bounded children: one that needs more memory than it may have costs only itself."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from uuid import UUID

import pytest

from ingestion.models import Bag
from orchestration import heavy
from orchestration.work.bags import Converted, apart_if_need_be, convert_bags

LIMIT_BYTES = 1_300_000_000
LARGE_BYTES = 450 << 20
START_NS = 1_772_402_400_000_000_000


@pytest.fixture
def stored(runtime, world) -> Callable[[bytes, str], UUID]:
    """A bag of these bytes, not converted yet."""

    def store(content: bytes, filename: str) -> UUID:
        sha256 = hashlib.sha256(content).hexdigest()
        key = f"{world.organisation.id}/bags/{sha256}"
        runtime.objects.put(key, content)
        known = {"filename": filename, "object_key": key, "uploaded_at": runtime.clock.now()}
        bag = Bag(organisation_id=world.organisation.id, sha256=sha256, size=len(content), **known)
        with runtime.transaction() as session:
            session.add(bag)
        return bag.id

    return store


async def _bounded(organisation: str, bags: Sequence[UUID]) -> list[Converted]:
    return await heavy.run(convert_bags, organisation, list(bags), memory_max_bytes=LIMIT_BYTES, timeout_s=120)


@pytest.mark.proof
async def test_a_bag_that_needs_too_much_memory_does_not_take_the_others_along(
    runtime, world, settings, stored, mcap, monkeypatch
):
    monkeypatch.setenv("YARDMASTER_VAR_DIR", str(settings.var_dir))
    channel = mcap.channel("/blob", "pkg/msg/Blob", "uint8[] data")
    contents = []
    for size in (8, LARGE_BYTES, 9):
        mcap.messages = [(channel, START_NS, b"\0\1\0\0" + size.to_bytes(4, "little") + bytes(size))]
        contents.append(mcap.content())
    bags = [stored(content, f"{number}.mcap") for number, content in enumerate(contents)]
    outcomes = await apart_if_need_be(partial(_bounded, world.organisation.name), bags)
    assert [outcome.status for outcome in outcomes] == ["complete", "not converted", "complete"]
    assert "memory" in outcomes[1].problem
