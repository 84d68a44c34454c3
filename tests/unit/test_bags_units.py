"""Units of columns: what a definition's comments and the standard state, and nothing beyond."""

import pytest

from ingestion.bags.definitions import decoder
from ingestion.bags.recording import Channel
from ingestion.bags.units import units

LINE = "=" * 80


@pytest.fixture
def told():
    """The unit of one column of a definition, None where it has none."""

    def tell(column, definition, type_name="my_msgs/msg/Thing", form="ros2msg"):
        channel = Channel("/thing", type_name, "cdr", form, definition)
        return units(decoder(channel), definition, [column]).get(column)

    return tell


@pytest.mark.parametrize(
    ("line", "unit"),
    [
        ("float64 v # speed of the wheel [m/s]", "m/s"),
        ("float64 v # [seconds] since the start", "s"),
        ("float64 v # how warm it is (degC), NaN when not known", "degC"),
        ("float64 v # turn rate in radians per second", "rad/s"),
        ("float64 v # turn rate in rad/s, left is positive", "rad/s"),
        ("float64 v # in Degrees Celsius", "degC"),
        ("float64 v # in Volts (mandatory)", "V"),
        ("float64 v # in RPM", "rpm"),
        ("float64[3] v # [m]", "m"),
        ("float64[] v # [m]", "m"),
        ("float64[<=5] v # [m]", "m"),
        ("# The speed [m/s]\n# of the wheel.\nfloat64 v", "m/s"),
    ],
)
def test_the_comment_of_a_field_states_its_unit(told, line, unit):
    assert told("v", f"float64 other\n{line}\nfloat64 last # [rad]\n") == unit


@pytest.mark.parametrize(
    "line",
    [
        "float64 v",
        "float64 v # joint(s) that move",
        "float64 v # of the joint (rad or m)",
        "float64 v # [m] or, for turning joints, [rad]",
        "float64 v # in a frame of its own",
        "float64 v # in meters/lightyear",
        "float64 v # in NM",
        "float64 v # index in [0, 1]",
        "# All in [m/s]\n\nfloat64 v",
    ],
)
def test_a_comment_that_states_no_unit_or_several_gives_none(told, line):
    assert told("v", f"float64 other # [m]\n{line}\n") is None


def test_comments_are_those_of_the_message_that_a_field_is_in(told):
    definition = f"my_msgs/Part part # [m]\nfloat64 v\n{LINE}\nMSG: my_msgs/Part\nfloat64 v # [A]\nfloat64 w\n"
    assert (told("part.v", definition), told("v", definition), told("part.w", definition)) == ("A", None, None)


IMU = f"""std_msgs/Header header
geometry_msgs/Quaternion orientation
geometry_msgs/Vector3 angular_velocity
float64[9] angular_velocity_covariance
{LINE}
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
{LINE}
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
{LINE}
MSG: geometry_msgs/Quaternion
float64 x
float64 w
{LINE}
MSG: geometry_msgs/Vector3
float64 x
"""


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("header.stamp.sec", "s"),
        ("header.stamp.nanosec", "ns"),
        ("header.frame_id", None),
        ("orientation.x", None),
        ("angular_velocity.x", "rad/s"),
        ("angular_velocity_covariance", None),
        ("header_stamp", None),
        ("nothing.like.that", None),
    ],
)
def test_the_standard_states_the_units_of_its_messages(told, column, unit):
    assert told(column, IMU, "sensor_msgs/msg/Imu") == unit


def test_another_message_with_a_field_of_that_name_has_no_unit(told):
    assert told("angular_velocity.x", IMU, "my_msgs/msg/Imu") is None


def test_a_list_of_messages_has_the_units_of_each(told):
    definition = f"geometry_msgs/Point[] points\n{LINE}\nMSG: geometry_msgs/Point\nfloat64 x\n"
    assert told("points.x", definition, "geometry_msgs/msg/Polygon") == "m"


def test_what_the_recording_says_comes_before_the_standard(told):
    assert told("theta", "float64 x\nfloat64 theta # [deg]\n", "geometry_msgs/msg/Pose2D") == "deg"


def test_a_definition_that_the_recording_lacks_has_the_units_of_the_standard(told):
    assert told("angular_velocity.x", "", "sensor_msgs/msg/Imu", form="") == "rad/s"
