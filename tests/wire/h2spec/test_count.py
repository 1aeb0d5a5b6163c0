"""That none of h2spec's 57 client cases is missing, and none is there twice."""

from __future__ import annotations

from collections import Counter

from tests.wire.h2spec import (
    test_connection_frames,
    test_frames,
    test_starting,
    test_stream_frames,
    test_streams,
)

#: How many client cases h2spec has in each section (its `client` folder, version 2.6).
SECTIONS = {
    "1": 1,
    "4.1": 3,
    "4.2": 3,
    "4.3": 1,
    "5.1": 10,
    "5.1.1": 1,
    "5.4.1": 2,
    "5.5": 1,
    "6.1": 3,
    "6.2": 3,
    "6.3": 2,
    "6.4": 3,
    "6.5": 3,
    "6.5.2": 4,
    "6.5.3": 1,
    "6.7": 4,
    "6.8": 1,
    "6.9": 3,
    "6.9.1": 2,
    "6.10": 6,
}

FILES = (
    test_starting,
    test_frames,
    test_streams,
    test_stream_frames,
    test_connection_frames,
)


def test_there_are_57_cases() -> None:
    wanted = [f"{section}/{n + 1}" for section, many in SECTIONS.items() for n in range(many)]
    assert len(wanted) == 57
    found = Counter(case.id for file in FILES for case in file.CASES)
    assert found == Counter(wanted)
