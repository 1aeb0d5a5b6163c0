"""The times of ``containerd-lite logs --since``."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta, timezone

import pytest

from containerd_lite.cli.commands.logs import moment


@pytest.mark.parametrize(
    ("text", "ago"),
    [("90", 90), ("1.5s", 1.5), ("10m", 600), ("1h30m", 5400), ("2d1s", 172801), ("0", 0)],
)
def test_how_long_ago(text: str, ago: float) -> None:
    assert moment(text) == ago


def test_times() -> None:
    wanted = datetime(2026, 12, 1, 8, tzinfo=timezone.utc)
    assert moment("2026-12-01T08:00Z") == moment("2026-12-01 10:00:00+02:00") == wanted
    local = moment("2026-12-01T08:00")
    assert isinstance(local, datetime)
    assert local.utcoffset() == timedelta(0)
    assert local == datetime(2026, 12, 1, 8).astimezone()


@pytest.mark.parametrize(
    "text", ["", "x", "m", "-5", "1m1h", "\u0661m", "9" * 400, "2026-13-01", "1e3"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"invalid time .*: write 10m"):
        moment(text)
