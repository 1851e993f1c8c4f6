"""A track whose settings change whenever it likes: all that holds of a track holds all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from edge.test_track import TrackMachine
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

__all__ = ["TestReloadedTrack"]


class ReloadedTrackMachine(TrackMachine):
    @rule(
        policy=st.sampled_from(("skip", "close")),
        log_bytes=st.sampled_from((300, 2_000, 100_000)),
        lag_seconds=st.sampled_from((0.3, 4.0, 9.0)),
        log_seconds=st.sampled_from((9.0, 30.0)),
    )
    def reload(self, policy: Literal["skip", "close"], log_bytes: int, lag_seconds: float, log_seconds: float) -> None:
        self.settings = replace(
            self.settings, lag_policy=policy, log_bytes=log_bytes, lag_seconds=lag_seconds, log_seconds=log_seconds
        )
        self.track.adopt_settings(self.settings)


TestReloadedTrack = ReloadedTrackMachine.TestCase
TestReloadedTrack.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
