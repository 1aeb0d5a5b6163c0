"""h2spec, client cases of section 1: how a connection begins."""

from __future__ import annotations

from tests.wire import peer
from tests.wire.h2spec.script import SETTINGS_ACK, Case, each, play

CASES = [
    Case(
        "1/1",
        "3.4",
        "a server's preface: SETTINGS, which may be empty",
        lambda server, subject: peer.settings(),
        SETTINGS_ACK,
        greets=False,
    ),
]


@each(CASES)
def test_starting(case: Case, manner: str) -> None:
    play(case, manner)
