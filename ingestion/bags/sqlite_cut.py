"""Which rows of a SQLite file that was cut are not all there (sqlite.org/fileformat2.html).

SQLite reads what lies behind the end of a file as zeros, and gives a row whose last page is missing as if it were whole.
"""

from pathlib import Path
from typing import BinaryIO

LEAF = 0x0D  # a page with rows of a table
MOST_LINKS = 1 << 20


def cut_rows(path: Path) -> set[int]:
    """The numbers of rows (of any table) of which a part lies behind the end of the file."""
    with path.open("rb") as file:
        head = file.read(100)
        page = int.from_bytes(head[16:18], "big")
        page = 65536 if page == 1 else page
        if len(head) < 100 or page < 512:
            return set()
        return _Pages(file, page, page - head[20], path.stat().st_size).cut_rows()


class _Pages:
    def __init__(self, file: BinaryIO, page: int, usable: int, size: int) -> None:
        self.file = file
        self.page = page
        self.usable = usable
        self.whole = size // page

    def cut_rows(self) -> set[int]:
        cut = set[int]()
        for number in range(1, self.whole + 2):
            self.file.seek((number - 1) * self.page)
            content = self.file.read(self.page)
            begin = 100 if number == 1 else 0
            if content[begin : begin + 1] == bytes([LEAF]):
                cut.update(row for row, linked in self._cells(content, begin) if self._is_cut(number, linked))
        return cut

    def _cells(self, content: bytes, begin: int) -> list[tuple[int, int]]:
        """The rows of a page, and the page on which each goes on (0: none)."""
        count = int.from_bytes(content[begin + 3 : begin + 5], "big")
        cells = []
        for place in range(begin + 8, min(begin + 8 + 2 * count, len(content) - 1), 2):
            at = int.from_bytes(content[place : place + 2], "big")
            size, at = _varint(content, at)
            row, at = _varint(content, at)
            local = self._local(size)
            linked = content[at + local : at + local + 4] if local < size else b""
            cells.append((row, int.from_bytes(linked, "big")))
        return cells

    def _local(self, size: int) -> int:
        """How much of a row lies in its own page (section 1.6)."""
        if size <= self.usable - 35:
            return size
        least = (self.usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (self.usable - 4)
        return local if local <= self.usable - 35 else least

    def _is_cut(self, number: int, linked: int) -> bool:
        for _ in range(MOST_LINKS):
            if max(number, linked) > self.whole:
                return True
            if linked == 0:
                return False
            self.file.seek((linked - 1) * self.page)
            linked = int.from_bytes(self.file.read(4), "big")
        return True


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(content[at : at + 9]):
        if place == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + place + 1
    return value, len(content)
