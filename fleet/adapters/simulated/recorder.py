"""Writes what a robot's sensors showed as a genuine ROS 2 bag (MCAP, zstd), the same bytes for the same samples."""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from fleet.adapters.simulated.messages import TYPES, Messages, noise_of, typestore
from fleet.adapters.simulated.samples import Sample

# A message for every n-th sample. Drive diagnostics are measured under load only.
NIGHT_EVERY = {"/battery_state": 10, "/joint_states": 1, "/imu": 1, "/odom": 1, "/diagnostics": 5}
HISTORY_EVERY = {"/battery_state": 10, "/joint_states": 10, "/imu": 10, "/odom": 10, "/diagnostics": 1}
SAMPLES_MAX = 20_000


@dataclass(frozen=True)
class Recording:
    """The samples of one run or one life, and what they belong to."""

    name: str
    robot: str
    samples: list[Sample]
    every: Mapping[str, int]
    noise: str
    mission_id: str | None = None
    trigger: str | None = None  # what it is uploaded with, in JSON
    capture: tuple[str, str] | None = None  # robot and trigger, when a policy or a request began it


def thinned(samples: list[Sample]) -> list[Sample]:
    """The same run with every second sample once it has grown past the limit, so that memory stays bounded."""
    return samples if len(samples) < SAMPLES_MAX else samples[::2]


def write_bag(folder: Path, recording: Recording) -> Path:
    """Write `folder/<name>.mcap` and give its path; a crash leaves no half file under that name.

    Written again it replaces the file by the same bytes.
    """
    scratch = folder / f".writing-{recording.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    writer = Writer(scratch / recording.name, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        _write(writer, recording)
    target = folder / f"{recording.name}.mcap"
    os.replace(scratch / recording.name / target.name, target)
    shutil.rmtree(scratch)
    return target


def _write(writer: Writer, recording: Recording) -> None:
    store, messages = typestore(), Messages(noise_of(recording.noise))
    makers = messages.makers()
    chosen = {topic: name for topic, name in TYPES.items() if topic in recording.every}
    connections = {topic: writer.add_connection(topic, name, typestore=store) for topic, name in chosen.items()}
    counts = dict.fromkeys(TYPES, 0)
    for sample in recording.samples:
        for topic in _topics_of(sample, chosen):
            if counts[topic] % recording.every[topic] == 0:
                body = store.serialize_cdr(makers[topic](sample), TYPES[topic])
                writer.write(connections[topic], sample.at_ns, body)
            counts[topic] += 1


def _topics_of(sample: Sample, chosen: Iterable[str]) -> Iterable[str]:
    return chosen if sample.body.speed_m_s > 0 else [topic for topic in chosen if topic != "/diagnostics"]
