"""The outcomes of a run's tests, in a file for the process that started pytest.

    pytest --outcomes FILE
    read(FILE).failed
    pytest --again FILE  # only the tests that failed

The module also has the closing lines that tests and fixtures add to the run's report.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from pytest_timeout import PYTEST_FAILURE_MESSAGE  # type: ignore[import-untyped]

#: Closing lines of the run; pytest-xdist's workers send theirs to its controller.
CLOSING: set[str] = set()
_LAST_LINES = 12
_TIMED_OUT = PYTEST_FAILURE_MESSAGE.partition("%")[0]


@dataclass
class Failure:
    """A failure of a test, its set-up or its clean-up; `text` is the end of its report."""

    text: str
    timed_out: bool = False


@dataclass
class Outcomes:
    """The node IDs of the tests that passed, and the failures by node ID."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, Failure] = field(default_factory=dict)


class Recorder:
    """A plug-in of pytest that writes the outcomes to a file when the run ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes = Outcomes()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            text = report.longreprtext
            tail = "\n".join(text.splitlines()[-_LAST_LINES:])
            failure = self._outcomes.failed.setdefault(report.nodeid, Failure(tail))
            failure.timed_out |= _TIMED_OUT in text
        elif report.passed and report.when == "call":
            self._outcomes.passed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._outcomes.failed[report.nodeid] = Failure(report.longreprtext)

    def pytest_sessionfinish(self) -> None:
        self._path.write_text(json.dumps(asdict(self._outcomes)))


def keep_failed(items: list[pytest.Item], path: Path) -> None:
    """Deselect the tests that did not fail in the run that wrote the file."""
    failed = read(path).failed
    items[:] = [item for item in items if item.nodeid in failed]


def read(path: Path) -> Outcomes:
    """Return the outcomes that a run wrote, which are empty if it was killed before its end."""
    if not path.exists():
        return Outcomes()
    document = json.loads(path.read_text())
    failed = {name: Failure(**failure) for name, failure in document["failed"].items()}
    return Outcomes([name for name in document["passed"] if name not in failed], failed)
