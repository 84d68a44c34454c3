"""Causal features of a drive's wear: one step function; the features of a whole life are its fold.

Nothing looks ahead: the features of a window depend on it and on those before it, so what is learned from history is
what a live robot shows.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW_HOURS = 0.1
RECENT_WINDOWS = 10
FAST_WINDOWS = 10
SLOW_WINDOWS = 80
BASELINE_WINDOWS = 20
BORN_WITHIN_HOURS = 2.0

CHANNELS = ("motor_current_a", "motor_temperature_degc", "vibration_m_s2")
_PER_CHANNEL = ("mean", "sd", "ewma_fast", "ewma_slow", "ewma_difference", "drift")
FEATURES = ("operating_hours", *(f"{channel}_{name}" for channel in CHANNELS for name in _PER_CHANNEL))


class Window(NamedTuple):
    """Means over one window of `WINDOW_HOURS` of operation; the names carry the units."""

    operating_hours: float
    motor_current_a: float
    motor_temperature_degc: float
    vibration_m_s2: float


@dataclass(frozen=True)
class ChannelState:
    """What one channel remembers of the windows so far."""

    recent: tuple[float, ...] = ()
    fast: float = math.nan
    slow: float = math.nan
    baseline_sum: float = 0.0
    baseline_windows: int = 0


@dataclass(frozen=True)
class FeatureState:
    """What a life remembers; `is_born_here` is None before its first window."""

    is_born_here: bool | None = None
    channels: tuple[ChannelState, ...] = (ChannelState(),) * len(CHANNELS)


def step(state: FeatureState, window: Window) -> tuple[FeatureState, tuple[float, ...]]:
    """The state after `window`, and the features at its end in the order of `FEATURES`.

    The drift from the first hours is NaN for a life whose first hours were not recorded.
    """
    is_born_here = state.is_born_here
    if is_born_here is None:
        is_born_here = window.operating_hours <= BORN_WITHIN_HOURS
    channels = tuple(_remember(channel, value) for channel, value in zip(state.channels, window[1:], strict=True))
    features = [window.operating_hours]
    for channel in channels:
        features.extend(_features(channel, is_born_here=is_born_here))
    return FeatureState(is_born_here, channels), tuple(features)


def _remember(channel: ChannelState, value: float) -> ChannelState:
    is_first_hours = channel.baseline_windows < BASELINE_WINDOWS
    return ChannelState(
        recent=(*channel.recent[1 - RECENT_WINDOWS :], value),
        fast=_ewma(channel.fast, value, FAST_WINDOWS),
        slow=_ewma(channel.slow, value, SLOW_WINDOWS),
        baseline_sum=channel.baseline_sum + value * is_first_hours,
        baseline_windows=channel.baseline_windows + is_first_hours,
    )


def _ewma(before: float, value: float, span: int) -> float:
    """Exponentially weighted mean with weight 2 / (span + 1) on the newest value; begins at the first value."""
    return value if math.isnan(before) else before + 2.0 / (span + 1) * (value - before)


def _features(channel: ChannelState, *, is_born_here: bool) -> tuple[float, ...]:
    count = len(channel.recent)
    mean = sum(channel.recent) / count
    sd = math.sqrt(sum((value - mean) ** 2 for value in channel.recent) / count)
    drift = channel.fast - channel.baseline_sum / channel.baseline_windows if is_born_here else math.nan
    return mean, sd, channel.fast, channel.slow, channel.fast - channel.slow, drift


def stream(windows: Iterable[Window]) -> Iterator[tuple[float, ...]]:
    """The features after each window of one life, as they would come in one by one."""
    state = FeatureState()
    for window in windows:
        state, features = step(state, window)
        yield features


def matrix(windows: Iterable[Window]) -> NDArray[np.float64]:
    """The features of one life, shape (n_windows, n_features)."""
    rows = list(stream(windows))
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(FEATURES))


def feature_hash() -> str:
    """Names the recipe: a model and its input belong together only when their hashes agree."""
    recipe = (FEATURES, WINDOW_HOURS, RECENT_WINDOWS, FAST_WINDOWS, SLOW_WINDOWS, BASELINE_WINDOWS, BORN_WITHIN_HOURS)
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]
