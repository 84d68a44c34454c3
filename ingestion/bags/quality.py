"""How regularly a topic was recorded: rate, gaps, duplicates, times that go back, skew; in memory that does not grow.

Intervals and skews are counted in classes that are 1.6 % wide; a median is the mean of its class.
"""

import hashlib
from dataclasses import dataclass, field
from heapq import nlargest

import numpy as np
from numpy.typing import NDArray

from ingestion.bags.bodies import Bodies
from ingestion.lake import Gap, Quality

LONGEST_GAPS = 10
GAP_IN_MEDIANS = 5
MANTISSA_BITS = 6  # classes in an octave: 64
PROBES = 16
KEPT_BYTES = 1 << 20
NONE_YET = -(2**63)
Times = NDArray[np.int64]


class _Spread:
    """How many values came in each class, and their sum; only classes that occur take memory."""

    def __init__(self) -> None:
        self.count = 0
        self._classes: dict[int, tuple[int, float]] = {}

    def add(self, values: Times) -> None:
        """Whole numbers, none negative."""
        if not len(values):
            return
        sizes = values.astype(np.float64)
        # The bits of exponent and first digits of x + 1 are the number of the class.
        classes = (sizes + 1).view(np.int64) >> (52 - MANTISSA_BITS)
        first = int(classes.min())
        counts, sums = np.bincount(classes - first), np.bincount(classes - first, weights=sizes)
        for place in np.flatnonzero(counts).tolist():
            count, total = self._classes.get(first + place, (0, 0.0))
            self._classes[first + place] = (count + int(counts[place]), total + float(sums[place]))
        self.count += len(values)

    def value_at(self, rank: int) -> float:
        """The value with so many smaller ones."""
        for _, (count, total) in sorted(self._classes.items()):
            if rank < count:
                return total / count
            rank -= count
        raise IndexError(rank)

    def count_above(self, limit: float) -> int:
        """How many values exceed the limit; those of its own class do when their mean does."""
        return sum(count for count, total in self._classes.values() if total > limit * count)


@dataclass
class _Clock:
    """Times in the order of the recording: what is later than all before, and how often one is not."""

    latest: int = NONE_YET
    regressions: int = 0

    def take(self, times: Times) -> Times:
        """The latest time before each of these."""
        highest = np.maximum.accumulate(times)
        before = np.concatenate(([self.latest], np.maximum(highest[:-1], self.latest)))
        self.regressions += int(np.count_nonzero(times < before))
        self.latest = max(self.latest, int(highest[-1]))
        return before


@dataclass
class TopicQuality:
    """Takes the messages of one topic in the order of the recording."""

    _bytes: int = 0
    _duplicates: int = 0
    _unstamped: int = 0
    _log: _Clock = field(default_factory=_Clock)
    _stamps: _Clock = field(default_factory=_Clock)
    _intervals: _Spread = field(default_factory=_Spread)
    _longest: list[tuple[int, int]] = field(default_factory=list)  # length and begin
    _late: _Spread = field(default_factory=_Spread)  # stamped before they were recorded
    _early: _Spread = field(default_factory=_Spread)
    _extremes: tuple[int, int] = (0, 0)
    _last: tuple[int, bytes] = (NONE_YET, b"")

    def add(self, log_time: Times, header_stamp: Times | None, bodies: Bodies) -> None:
        """Messages with their log_time, the header's stamp where the type has one, and their bytes."""
        if not len(log_time):
            return
        self._bytes += int(bodies.lengths.sum())
        self._note_intervals(log_time)
        self._note_duplicates(log_time, bodies)
        if header_stamp is not None:
            is_stamped = header_stamp > 0
            self._unstamped += int(np.count_nonzero(~is_stamped))
            if is_stamped.any():
                self._note_stamps(log_time[is_stamped], header_stamp[is_stamped])

    def _note_intervals(self, log_time: Times) -> None:
        before = self._log.take(log_time)
        forward = (log_time >= before) & (before != NONE_YET)
        lengths, begins = (log_time - before)[forward], before[forward]
        self._intervals.add(lengths)
        some = np.argpartition(lengths, -LONGEST_GAPS)[-LONGEST_GAPS:] if len(lengths) > LONGEST_GAPS else slice(None)
        found = zip(lengths[some].tolist(), begins[some].tolist(), strict=True)
        self._longest = nlargest(LONGEST_GAPS, [*self._longest, *found], key=lambda gap: (gap[0], -gap[1]))

    def _note_duplicates(self, log_time: Times, bodies: Bodies) -> None:
        lengths = bodies.lengths
        alike = np.flatnonzero((log_time[1:] == log_time[:-1]) & (lengths[1:] == lengths[:-1]))
        alike = alike[_look_alike(bodies, alike)] if len(alike) else alike
        self._duplicates += sum(bodies.content(row) == bodies.content(row + 1) for row in alike.tolist())
        self._duplicates += self._last == (int(log_time[0]), _fingerprint(bodies, 0))
        self._last = (int(log_time[-1]), _fingerprint(bodies, len(log_time) - 1))

    def _note_stamps(self, log_time: Times, stamps: Times) -> None:
        self._stamps.take(stamps)
        skew = log_time - stamps
        self._late.add(skew[skew >= 0])
        self._early.add(-skew[skew < 0])
        least, most = self._extremes
        self._extremes = (min(least, int(skew.min())), max(most, int(skew.max())))

    def result(self) -> Quality:
        """What was found."""
        median = self._median_interval()
        limit = GAP_IN_MEDIANS * median if median else None
        longest = [] if limit is None else [gap for gap in self._longest if gap[0] > limit]
        counted = 0 if limit is None else self._intervals.count_above(limit)
        skews = self._early.count + self._late.count
        return Quality(
            bytes=self._bytes,
            rate_hz=1e9 / median if median else None,
            gaps=len(longest) if len(longest) < LONGEST_GAPS else max(counted, LONGEST_GAPS),
            longest_gaps=[Gap(begin_ns=begin, length_ns=length) for length, begin in longest],
            duplicates=self._duplicates,
            log_time_regressions=self._log.regressions,
            stamp_regressions=self._stamps.regressions,
            unstamped=self._unstamped,
            skew_median_s=self._median_skew() / 1e9 if skews else None,
            skew_largest_s=max(self._extremes, key=abs) / 1e9 if skews else None,
        )

    def _median_interval(self) -> float | None:
        count = self._intervals.count
        return self._intervals.value_at((count - 1) // 2) if count else None

    def _median_skew(self) -> float:
        early, late = self._early.count, self._late.count
        rank = (early + late - 1) // 2
        return self._late.value_at(rank - early) if rank >= early else -self._early.value_at(early - 1 - rank)


def _look_alike(bodies: Bodies, rows: Times) -> NDArray[np.bool_]:
    """Whether some bytes of these messages equal those of the next, which is as long."""
    equal = np.ones(len(rows), np.bool_)
    last = np.maximum(bodies.lengths[rows] - 1, 0)
    for part in range(PROBES if bodies.arena.size else 0):
        at = last * part // (PROBES - 1)
        firsts, seconds = bodies.starts[rows] + at, bodies.starts[rows + 1] + at
        equal &= bodies.arena.take(firsts, mode="clip") == bodies.arena.take(seconds, mode="clip")
    return equal


def _fingerprint(bodies: Bodies, row: int) -> bytes:
    """A short message itself, of a long one its hash."""
    content = bodies.content(row)
    return content if len(content) <= KEPT_BYTES else hashlib.blake2b(content, digest_size=32).digest()
