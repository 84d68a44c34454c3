"""The thirteen real recordings: every message arrives, every field equals what rosbags' own deserialiser gives."""

import csv
from collections import Counter
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from ingestion.bags import convert
from ingestion.bags.verification import verify
from ingestion.models import BagStatus

RECORDINGS = {  # status, formats and counts are those of the folder's MANIFEST.csv
    "Optimal-Robotics-Lab_unitree-go2/f63ce81/rosbag2_2025_12_12-16_34_20_0.db3": BagStatus.partial,  # no definition
    "UbiquityRobotics_fiducials/1381214/aruco_marker.bag": BagStatus.complete,
    "berndpfrommer_tagslam/86676c6/tag_detections.bag": BagStatus.complete,
    "cra-ros-pkg_robot_localization/565f14c/test1.bag": BagStatus.complete,
    "cra-ros-pkg_robot_localization/0559965/test2.bag": BagStatus.complete,
    "cruise-automation_rosbag.js/d446622/example-bz2.bag": BagStatus.complete,
    "cruise-automation_rosbag.js/3e88b47/example-lz4.bag": BagStatus.complete,
    "cruise-automation_rosbag.js/2dee46e/example.bag": BagStatus.complete,
    "embarktrucks_embag/4ba5352/test.bag": BagStatus.complete,
    "eric-wieser_ros_numpy/254dbc3/test.bag": BagStatus.complete,
    "facontidavide_PlotJuggler/571a5d3/rosbag2_test_0.db3": BagStatus.complete,
    "rgariepy_motor_challenge/7cf76c6/sample.bag": BagStatus.complete,
    "vbarcena2020_abitobot/5998e6d/rosbag2_2025_05_09-18_01_02_0.mcap": BagStatus.complete,
}


@pytest.mark.parametrize(("name", "status"), RECORDINGS.items())
def test_every_message_of_a_real_recording_arrives_and_equals_what_rosbags_reads(shared_data, tmp_path, name, status):
    source = shared_data / "bags" / name
    with (shared_data / "bags" / "MANIFEST.csv").open() as file:
        listed = {row["file"]: row for row in csv.DictReader(file)}[name]
    with AnyReader([source], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        theirs = Counter({topic: found.msgcount for topic, found in reader.topics.items()})

    manifest = convert(source, tmp_path)

    ours: Counter[str] = Counter()
    for topic in manifest.topics:
        ours[topic.name] += topic.rows
    assert manifest.status is status
    assert manifest.messages == int(listed["messages"])
    assert manifest.sha256 == listed["sha256"]
    assert manifest.format == listed["format"]
    assert manifest.rejected == 0
    assert ours == theirs
    assert verify(source, tmp_path) == []


def test_a_topic_whose_definition_is_nowhere_keeps_its_messages_raw_and_says_why(shared_data, tmp_path):
    manifest = convert(shared_data / "bags" / next(iter(RECORDINGS)), tmp_path)
    assert [(topic.rows, topic.rejected) for topic in manifest.topics] == [(15883, 0)]
    assert "no definition of 'vicon_receiver/msg/Position'" in str(manifest.topics[0].reason)


def test_a_definition_that_was_not_recorded_is_marked_as_assumed(shared_data, tmp_path):
    manifest = convert(shared_data / "bags/facontidavide_PlotJuggler/571a5d3/rosbag2_test_0.db3", tmp_path)
    assert {topic.definition for topic in manifest.topics} == {"assumed from ros2_humble"}


def test_every_recording_of_the_folder_is_in_this_test(shared_data):
    files = (path for path in Path(shared_data / "bags").rglob("*") if path.suffix in {".bag", ".db3", ".mcap"})
    assert {str(path.relative_to(shared_data / "bags")) for path in files} == set(RECORDINGS)
