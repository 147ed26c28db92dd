"""A clock that tests set: what runs in this process takes hours and days in no time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from poolmgr import pipeline


class Clock:
    """Stands at `at` until it is moved. The pipeline's clock while it is used by `use`."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this be the pipeline's clock until the end of the test."""
        monkeypatch.setattr(pipeline, "now", self)

    def move(self, time: timedelta) -> None:
        """Let that time pass."""
        self.at += time
