"""The examples of docs/bags.md are run as they stand there, on a dataset like the one they speak of."""

import importlib.util
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer

from ingestion.bags import convert

PAGE = (Path(__file__).parents[3] / "docs" / "bags.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
START_NS = 1_772_402_400_000_000_000
EXPECTED = {
    "units": lambda found: found["angular_velocity.z"] == "rad/s",
    "rates": lambda found: found["angular_velocity.z"].to_pylist() == [0.5] * 30,
    "quality": lambda found: found["/imu"]["rate_hz"] == pytest.approx(10),
    "lost": lambda found: found == [],
    "by_robot": lambda found: [(row[0], row[2], row[3]) for row in found] == [("carrier-1", 0.5, pytest.approx(0.4))],
    "pictures": lambda found: [Path(row[0]).read_bytes()[:3] for row in found] == [b"\xff\xd8\xff"],
    "means": lambda found: found["angular_velocity.z"].to_list() == [0.5] and found["len"].to_list() == [30],
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, humble):
    """The folder with `dataset`: three seconds of /imu, /battery and /camera of carrier-1."""
    folder = tmp_path_factory.mktemp("documented")
    types = humble.types
    packed = io.BytesIO()
    Image.new("RGB", (8, 8)).save(packed, "JPEG")

    def header(ns):
        time = types["builtin_interfaces/msg/Time"](sec=ns // 10**9, nanosec=ns % 10**9)
        return types["std_msgs/msg/Header"](stamp=time, frame_id="base")

    def imu(ns):
        vector, turn = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
        spin, none = vector(x=0.0, y=0.0, z=0.5), np.zeros(9)
        return types["sensor_msgs/msg/Imu"](header(ns), turn(0.0, 0.0, 0.0, 1.0), none, spin, none, spin, none)

    def battery(ns):
        fields = dict.fromkeys(("voltage", "temperature", "current", "charge", "capacity", "design_capacity"), 1.0)
        states = dict.fromkeys(("power_supply_status", "power_supply_health", "power_supply_technology"), 0)
        texts = {"location": "", "serial_number": ""}
        cells = dict.fromkeys(("cell_voltage", "cell_temperature"), np.zeros(0, np.float32))
        full = 0.6 - 0.1 * ((ns - START_NS) // 10**9)
        return types["sensor_msgs/msg/BatteryState"](
            header=header(ns), percentage=full, present=True, **fields, **states, **texts, **cells
        )

    def camera(ns):
        return types["sensor_msgs/msg/CompressedImage"](header(ns), "jpeg", np.frombuffer(packed.getvalue(), np.uint8))

    with Writer(folder / "run", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind, make, step in (
            ("/imu", "sensor_msgs/msg/Imu", imu, 10**8),
            ("/battery", "sensor_msgs/msg/BatteryState", battery, 10**9),
            ("/camera", "sensor_msgs/msg/CompressedImage", camera, 10**9),
        ):
            line = writer.add_connection(topic, kind, typestore=humble)
            for ns in range(START_NS, START_NS + 3 * 10**9, step):
                writer.write(line, ns, humble.serialize_cdr(make(ns), kind))
    convert(folder / "run" / "run.mcap", folder / "dataset", robot="carrier-1")
    return folder


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs_and_finds_what_the_page_says(number, dataset, monkeypatch):
    example = EXAMPLES[number]
    for library in re.findall(r"^import (\w+)", example, re.MULTILINE):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    monkeypatch.chdir(dataset)
    names: dict[str, object] = {}
    exec(example, names)
    checked = {name: names[name] for name in EXPECTED if name in names}
    assert checked
    assert {name: value for name, value in checked.items() if not EXPECTED[name](value)} == {}


def test_the_page_has_an_example_for_each_reader():
    libraries = {library for example in EXAMPLES for library in re.findall(r"^import (\w+)", example, re.MULTILINE)}
    assert {"duckdb", "polars", "json"} <= libraries
