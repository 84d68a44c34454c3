"""What a message says about its picture, and the file it becomes: as recorded where it is a file already, else PNG.

The form of a compressed picture is told by its first bytes; the `format` of the message is often wrong.
"""

import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ingestion.bags.pcd import Unwritable
from ingestion.bags.png import LONGEST_SIDE, SIGNATURE, Pixels, png

SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "jpg"),
    (re.compile(re.escape(SIGNATURE)), "png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"II\*\0|MM\0\*"), "tiff"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "jp2"),
)
VIDEO = {"h264", "h265", "hevc"}
START_CODE = re.compile(rb"\0\0\0?\x01")
DEPTH_HEADER = struct.Struct("<iff")  # compressed_depth_image_transport: format, depthQuantA, depthQuantB


class _Encoding(NamedTuple):
    channels: int
    bytes: int
    order: slice | list[int] | None = None  # where PNG's channels lie, None where they lie as in PNG
    note: str | None = None


BGR, BGRA = slice(None, None, -1), [2, 1, 0, 3]
AS_RECORDED = "the order of its channels is not told; they are written as recorded"
ENCODINGS = {
    "mono8": _Encoding(1, 1),
    "mono16": _Encoding(1, 2),
    "rgb8": _Encoding(3, 1),
    "rgb16": _Encoding(3, 2),
    "bgr8": _Encoding(3, 1, BGR),
    "bgr16": _Encoding(3, 2, BGR),
    "rgba8": _Encoding(4, 1),
    "rgba16": _Encoding(4, 2),
    "bgra8": _Encoding(4, 1, BGRA),
    "bgra16": _Encoding(4, 2, BGRA),
    "8UC1": _Encoding(1, 1),
    "16UC1": _Encoding(1, 2),
    "8UC3": _Encoding(3, 1, note=AS_RECORDED),
    "16UC3": _Encoding(3, 2, note=AS_RECORDED),
    "8UC4": _Encoding(4, 1, note=AS_RECORDED),
    "16UC4": _Encoding(4, 2, note=AS_RECORDED),
} | {
    f"bayer_{pattern}{bits}": _Encoding(1, bits // 8, note=f"grey values behind a Bayer filter of pattern {pattern}")
    for pattern in ("rggb", "bggr", "gbrg", "grbg")
    for bits in (8, 16)
}


@dataclass(frozen=True)
class Image:
    """How the bytes of an uncompressed picture are laid out, as sensor_msgs/Image says it."""

    width: int
    height: int
    encoding: str
    is_bigendian: bool
    step: int


class Written(NamedTuple):
    """A file in pieces, the ending of its name, and what a reader must know of it."""

    ending: str
    pieces: list[bytes | memoryview]
    note: str | None = None


def compressed(form: str, content: memoryview) -> Written:
    """The file of a compressed picture, whose message says that it is of this form."""
    ending = _ending(content)
    if ending:
        return Written(ending, [content])
    behind = content[DEPTH_HEADER.size :]
    if "compressedDepth" in form and _ending(behind) == "png":
        told = DEPTH_HEADER.unpack_from(content)
        note = (
            f"without the header of compressedDepth: format {told[0]}, depthQuantA {told[1]!r}, depthQuantB {told[2]!r}"
        )
        return Written("png", [behind], note)
    if form.lower() in VIDEO and START_CODE.match(content):
        return Written(form.lower(), [content], "a frame of a video: most need those before them")
    raise Unwritable(f"its first bytes are of no picture that is known (format {form[:64]!r})")


def _ending(content: memoryview) -> str | None:
    return next((ending for magic, ending in SIGNATURES if magic.match(content)), None)


def raw(image: Image, content: memoryview) -> Written:
    """The PNG file of an uncompressed picture.

    Raises:
        Unwritable: PNG has no such pixels, or the bytes are more or fewer than the picture needs.
    """
    encoding = ENCODINGS.get(image.encoding)
    if encoding is None:
        raise Unwritable(f"PNG has no pixels of the encoding {image.encoding[:64]!r}")
    pixels = _pixels(image, encoding, content)
    padding = image.step - image.width * encoding.channels * encoding.bytes
    notes = [encoding.note, f"without {padding} bytes at the end of each row" if padding else None]
    pieces: list[bytes | memoryview] = list(png(pixels))
    return Written("png", pieces, "; ".join(note for note in notes if note) or None)


def _pixels(image: Image, encoding: _Encoding, content: memoryview) -> Pixels:
    row = image.width * encoding.channels * encoding.bytes
    if not 0 < row <= image.step or max(image.width, image.height) > LONGEST_SIDE:
        raise Unwritable(f"a row of {image.width} pixels in {image.step} bytes is not possible")
    if image.height == 0 or image.height * image.step != len(content):
        raise Unwritable(f"{image.height} rows of {image.step} bytes are announced, {len(content)} bytes recorded")
    rows = np.frombuffer(content, np.uint8).reshape(image.height, image.step)[:, :row]
    pixels: Pixels = rows
    if encoding.bytes == 2:
        pixels = np.ascontiguousarray(rows).view(">u2" if image.is_bigendian else "<u2")
    pixels = pixels.reshape(image.height, image.width, encoding.channels)
    return pixels if encoding.order is None else pixels[:, :, encoding.order]
