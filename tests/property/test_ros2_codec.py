"""The ROS 2 codec and names, for every type of every distribution and for any value."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.interfaces import Nodetype

from fleet.adapters.ros2.discovery import Graph, Told
from fleet.adapters.ros2.names import (
    REPLY,
    REQUEST,
    TOPIC,
    dds_topic,
    dds_type,
    endpoint_id,
    is_name,
    namespace_of,
    ros_name,
    ros_type,
    to_user_data,
    user_data,
)
from fleet.adapters.ros2.qos import DURABILITIES, FOREVER, LIVELINESSES, ORDERS, Profile, fitting_reader, mismatch
from fleet.adapters.ros2.types import DISTROS, HEADER, Types, known_types
from fleet.errors import Invalid

WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
NAMES = st.lists(WORDS, min_size=1, max_size=4).map(lambda words: "/" + "/".join(words))
TYPES = st.tuples(
    WORDS, st.sampled_from(["msg", "srv", "action"]), st.from_regex(r"[A-Z][A-Za-z0-9]{0,8}", fullmatch=True)
)
DURATIONS = st.one_of(st.just(FOREVER), st.integers(0, 10**12))
PROFILES = st.builds(
    Profile,
    is_reliable=st.booleans(),
    durability=st.sampled_from(DURABILITIES),
    depth=st.integers(0, 1000),
    deadline_ns=DURATIONS,
    latency_ns=DURATIONS,
    liveliness=st.sampled_from(LIVELINESSES),
    lease_ns=DURATIONS,
    is_exclusive=st.booleans(),
    order=st.sampled_from(ORDERS),
    is_xcdr1=st.booleans(),
    partitions=st.sampled_from([(), ("a",), ("a", "b")]),
)
INTEGERS = {f"{sign}int{bits}": (bits, sign) for bits in (8, 16, 32, 64) for sign in ("", "u")}


@pytest.fixture(scope="module")
def values():
    """A strategy of values for a field, as rosbags describes its type."""

    def scalar(base: str, limit: int) -> st.SearchStrategy[Any]:
        if base == "string":
            return st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=min(limit or 12, 12))
        if base == "bool":
            return st.booleans()
        if base.startswith("float"):
            return st.floats(width=32 if base == "float32" else 64, allow_nan=False)
        bits, sign = INTEGERS.get(base, (8, "u"))
        return st.integers(0, 2**bits - 1) if sign else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    def of(types: Types, desc: Any) -> st.SearchStrategy[Any]:
        kind, rest = desc
        if kind == Nodetype.BASE:
            return scalar(*rest)
        if kind == Nodetype.NAME:
            return message(types, rest)
        element, length = rest
        least, most = (length, length) if kind == Nodetype.ARRAY else (0, min(length or 3, 3))
        return st.lists(of(types, element), min_size=least, max_size=most)

    def message(types: Types, type: str) -> st.SearchStrategy[Mapping[str, Any]]:
        return st.fixed_dictionaries({name: of(types, desc) for name, desc in types.fields(type)})

    return message


@pytest.fixture(scope="module")
def plain():
    """Values without NumPy."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: bare(field) for name, field in value.items()}
        if isinstance(value, list):
            return [bare(element) for element in value]
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    return bare


@settings(deadline=None, max_examples=60)
@given(data=st.data(), distro=st.sampled_from(DISTROS))
def test_any_message_of_any_distribution_comes_back_as_it_went(data, distro, values, plain):
    types = known_types(distro)
    type = data.draw(st.sampled_from(sorted(types._store.fielddefs)))
    message = data.draw(values(types, type))

    sample = types.encode(type, message)

    assert len(sample) % 4 == 0
    assert plain(types.decode(type, sample)) == message


@settings(deadline=None, max_examples=60)
@given(data=st.data(), client=st.binary(min_size=8, max_size=8), number=st.integers(0, 2**62))
def test_a_header_before_a_body_changes_nothing_of_the_body(data, client, number, values, plain):
    types, type = known_types("jazzy"), "nav2_msgs/action/NavigateToPose_SendGoal_Request"
    message = data.draw(values(types, type))

    framed = types.encode(type, message, (client, number))

    assert HEADER.unpack_from(framed, 4) == (client, number)
    assert framed[:4] + framed[20:] == types.encode(type, message)
    assert plain(types.decode(type, framed, has_header=True)) == plain(types.decode(type, types.encode(type, message)))


@settings(deadline=None, max_examples=60)
@given(data=st.data(), distro=st.sampled_from(DISTROS))
def test_a_message_that_is_cut_short_is_refused(data, distro, values):
    types = known_types(distro)
    type = data.draw(st.sampled_from(sorted(types._store.fielddefs)))
    sample = types.encode(type, data.draw(values(types, type)))
    cut = data.draw(st.integers(1, len(sample) // 4)) * 4  # what is left out may not be padding only

    with pytest.raises(Invalid, match=r"bytes are no|not plain CDR"):
        types.decode(type, sample[:-cut])


@pytest.mark.parametrize("distro", DISTROS)
def test_every_type_has_a_hash_of_its_own(distro):
    types = known_types(distro)
    hashes = {type: types.hash(type) for type in types._store.fielddefs}

    assert all(hash.startswith("RIHS01_") and len(hash) == 71 for hash in hashes.values())
    assert len(set(hashes.values())) == len(hashes)


@given(name=NAMES, part=st.sampled_from([TOPIC, REQUEST, REPLY]))
def test_every_name_has_one_topic_and_comes_back_from_it(name, part):
    assert is_name(name)
    assert ros_name(dds_topic(part, name)) == (part, name)
    assert name.startswith(namespace_of(name))


@given(type=TYPES)
def test_every_type_name_comes_back_from_dds(type):
    assert ros_type(dds_type("/".join(type))) == "/".join(type)


@given(text=st.text(max_size=40))
def test_any_topic_or_type_of_a_stranger_is_read_without_harm(text):
    ros_name(text)
    assert isinstance(ros_type(text), str)
    assert isinstance(user_data(text.encode(errors="replace")), dict)


@given(pairs=st.dictionaries(WORDS, st.from_regex(r"[ A-Za-z0-9_.]{0,20}", fullmatch=True), max_size=4))
def test_what_is_announced_is_read_back(pairs):
    assert user_data(to_user_data(pairs)) == pairs


@given(guid=st.binary(min_size=16, max_size=16), number=st.integers(0, 2**32 - 1))
def test_an_endpoints_id_is_sixteen_bytes_without_padding(guid, number):
    text = endpoint_id(guid, number)

    assert bytes(int(part, 16) for part in text.strip().split(".")) == guid[:12] + number.to_bytes(4, "big")
    assert not any(len(part) > 1 and part.startswith("0") for part in text.strip().split("."))


@given(profile=PROFILES)
def test_a_profile_never_comes_apart_from_a_weaker_request(profile):
    assert mismatch(profile, profile) == ""
    weakest = Profile(
        is_reliable=False,
        latency_ns=FOREVER,
        is_exclusive=profile.is_exclusive,
        is_xcdr1=profile.is_xcdr1,
        partitions=profile.partitions,
    )
    assert mismatch(profile, weakest) == ""


@given(offered=PROFILES, requested=PROFILES)
def test_a_mismatch_names_the_policy_with_both_sides(offered, requested):
    said = mismatch(offered, requested)

    for part in said.split("; ") if said else []:
        assert ": offered " in part
        assert ", requested " in part
    if offered.is_reliable < requested.is_reliable:
        assert "reliability: offered best effort, requested reliable" in said


@given(offers=st.lists(PROFILES, min_size=1, max_size=5))
def test_a_reader_asks_no_more_of_reliability_and_durability_than_every_publisher_offers(offers):
    request = fitting_reader(offers)

    for offer in offers:
        said = mismatch(offer, request)
        assert "reliability" not in said
        assert "durability" not in said


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_graph_is_what_it_was_told_last_in_any_order(data):
    types = known_types("jazzy")
    told = [
        Told(
            guid=b"\x01\x10" + bytes([number]) * 14,
            is_alive=True,
            topic=f"rt/robot_{number % 3}/battery_state",
            type="sensor_msgs::msg::dds_::BatteryState_",
            announced={"typehash": types.hash("sensor_msgs/msg/BatteryState")},
        )
        for number in range(1, 7)
    ]
    steps = data.draw(st.lists(st.tuples(st.sampled_from(told), st.booleans()), max_size=30))
    graph, alive = Graph(types, bytes(16)), set()
    for one, is_alive in steps:
        before = set(alive)
        (alive.add if is_alive else alive.discard)(one.topic + one.guid.hex())
        changed = graph.tell(one if is_alive else Told(one.guid, is_alive=False))
        assert bool(changed) == (alive != before)

    assert {seen.name for seen in graph.seen()} == {
        "/" + key.split("rt/")[1][: -len(told[0].guid.hex())] for key in alive
    }
    assert all(seen.complaint == "" for seen in graph.seen())
