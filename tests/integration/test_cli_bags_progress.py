"""`yardmaster bags convert` on a terminal shows how far it is; programs that read its output see nothing of that."""

import os
import pty
import subprocess
import sys

import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TEXT = "std_msgs/msg/String"


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Eight megabytes of text."""
    folder = tmp_path_factory.mktemp("recording")
    types = get_typestore(Stores.ROS2_HUMBLE)
    with Writer(folder / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        line = writer.add_connection("/said", TEXT, typestore=types)
        for n in range(400):
            writer.write(
                line, 1_772_402_400_000_000_000 + n, types.serialize_cdr(types.types[TEXT]("x" * 20_000), TEXT)
            )
    return folder / "run/run.mcap"


@pytest.fixture
def on_terminal(recording, tmp_path):
    """What a terminal as standard error has seen at the end of a conversion."""

    def convert(*options: str) -> str:
        mine, its = pty.openpty()
        command = [
            sys.executable,
            "-m",
            "deployments.cli",
            "bags",
            "convert",
            str(recording),
            "--out",
            str(tmp_path / "out"),
        ]
        subprocess.run([*command, *options], stderr=its, stdout=subprocess.PIPE, check=True, timeout=60)
        os.close(its)
        seen = b""
        while True:
            try:
                seen += os.read(mine, 65536)
            except OSError:  # Linux says the end of a terminal so
                os.close(mine)
                return seen.decode()

    return convert


def test_a_terminal_shows_how_far_the_conversion_is_and_then_nothing_of_it(on_terminal):
    seen = on_terminal()
    assert " of 8.0 MB, " in seen
    assert seen.endswith("\r\x1b[K")


def test_with_json_a_terminal_is_left_alone(on_terminal):
    assert "\x1b[K" not in on_terminal("--json")
