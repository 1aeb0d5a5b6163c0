"""What the tests of this folder compared, for the closing lines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_compared: list[str] = []


@pytest.fixture
def compared() -> Callable[[str], None]:
    """``compared(line)`` has the closing lines say so."""

    def compared(line: str) -> None:
        if line not in _compared:
            _compared.append(line)

    return compared


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _compared:
        terminalreporter.write_line(f"schema: {line}")
