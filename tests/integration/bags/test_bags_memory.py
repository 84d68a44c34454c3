"""The memory of a conversion: bounded, however many topics a recording has and in whatever order its times are."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PEAK_MAX_MB = 350
GROWTH_MAX = 1.1  # at ten times the length
PEAK = """
import sys
from pathlib import Path
from ingestion.bags import convert
from ingestion.bags.allocation import prefer_jemalloc
prefer_jemalloc()  # as processes of ours do
manifest = convert(Path(sys.argv[1]), Path(sys.argv[2]))
(peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
sys.stdout.write(f"{manifest.status} {manifest.messages} {len(manifest.topics)} {int(peak) // 1024}")
"""
START_NS = 1_772_402_400_000_000_000
pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc"),
]


@pytest.fixture
def converted(tmp_path, mcap):
    """Status, messages, topics and peak memory in MB of a conversion in a process of its own."""

    def convert() -> tuple[str, int, int, int]:
        source = tmp_path / "large.mcap"
        source.write_bytes(mcap.content(per_chunk=2_000))
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        command = [sys.executable, "-c", PEAK, str(source), str(tmp_path / "out")]
        environment = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "jemalloc"}  # as processes of ours do
        done = subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parents[3], env=environment)
        status, messages, topics, peak = done.stdout.split()[-4:]
        return status.decode(), int(messages), int(topics), int(peak)

    return convert


def test_three_thousand_topics_share_what_one_may_use(mcap, converted):
    channels = [
        mcap.channel(f"/topic_{n}", f"my_msgs/msg/Kind{n % 30}", f"float64[] values\nfloat32 extra_{n % 30}\n")
        for n in range(3_000)
    ]
    values = struct.pack("<I4x30df", 30, *range(30), 0.5)
    for number in range(30):
        for place, channel in enumerate(channels):
            mcap.add(channel, START_NS + number * 10**7 + place, b"\0\1\0\0" + values)
    status, messages, topics, peak = converted()
    assert (status, messages, topics) == ("complete", 90_000, 3_000)
    assert peak < PEAK_MAX_MB


def test_a_topic_in_no_order_at_all_is_sorted_within_the_bound(mcap, converted):
    channel = mcap.channel("/values", "my_msgs/msg/Values", "float64[] values\n")
    for number in range(250_000):
        values = struct.pack("<I4x30d", 30, *(float(number + n) for n in range(30)))
        mcap.add(channel, START_NS + (number * 7919) % 250_000, b"\0\1\0\0" + values)
    status, messages, _, peak = converted()
    assert (status, messages) == ("complete", 250_000)
    assert peak < PEAK_MAX_MB


def test_ten_times_the_length_takes_no_more_memory(mcap, converted):
    lines = [mcap.channel(f"/n{n}", "my_msgs/msg/Values", "float64[] values\n") for n in range(3)]
    values = np.arange(1_000, dtype=np.float64)
    peaks = []
    for messages in (20_000, 200_000):
        for number in range(len(mcap.messages), messages):
            some = values[number % 800 :][:160]
            mcap.add(lines[number % 3], START_NS + number * 10**6, b"\0\1\0\0\xa0\0\0\0\0\0\0\0" + some.tobytes())
        status, found, _, peak = converted()
        assert (status, found) == ("complete", messages)
        peaks.append(peak)
    assert peaks[1] < PEAK_MAX_MB
    assert peaks[1] <= peaks[0] * GROWTH_MAX
