"""Signals and ids."""

from __future__ import annotations

import signal

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.runtime.process import signal_number
from containerd_lite.runtime.record import check_id


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (9, 9),
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigterm", 15),
        ("15", 15),
        ("USR1", 10),
        (0, 0),
        (signal.SIGINT, 2),
        ("SIGRTMIN+3", 37),
        ("RTMIN", 34),
        ("SIGRTMAX-1", 63),
        ("RTMAX", 64),
    ],
)
def test_signals(given: int | str, number: int) -> None:
    assert signal_number(given) == number


@pytest.mark.parametrize(
    "given", ["", "NOPE", "SIG", "-9", "9.5", -1, 65, "RTMIN+31", "RTMIN-1", "RTMAX-99"]
)
def test_no_signals(given: int | str) -> None:
    with pytest.raises(InvalidArgument, match="unknown signal"):
        signal_number(given)


@pytest.mark.parametrize("id", ["a", "A.b-c_d", "x" * 76, "0"])
def test_ids(id: str) -> None:
    assert check_id(id) == id


@pytest.mark.parametrize("id", ["", "x" * 77, ".a", "a.", "a..b", "a/b", "ä", "a b", "a\n", "../a"])
def test_no_ids(id: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be an id"):
        check_id(id)
