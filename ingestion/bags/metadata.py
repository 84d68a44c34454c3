"""The file metadata.yaml that rosbag2 writes beside a recording, as far as we use it."""

from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

LARGEST_BYTES = 4 << 20


class Metadata(BaseModel):
    """What rosbag2 writes about a recording."""

    relative_file_paths: list[str]
    message_count: int | None = None
    ros_distro: str = ""


def metadata_in(path: Path) -> Metadata | None:
    """What this file tells; None where it tells nothing that can be understood."""
    if path.stat().st_size > LARGEST_BYTES:
        return None
    try:
        # The loader in Python: that in C overflows the stack where this one raises RecursionError.
        content = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)  # noqa: S506  it makes nothing but texts
        return Metadata.model_validate(content["rosbag2_bagfile_information"])
    except (yaml.YAMLError, ValidationError, ValueError, KeyError, TypeError, RecursionError):
        return None
