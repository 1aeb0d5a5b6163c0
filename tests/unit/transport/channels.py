"""What the tests of a channel share: a method, two ways to answer it, and how it fails."""

from __future__ import annotations

import pytest

from containerd_lite.errors import ContainerdError
from containerd_lite.transport.channel import Channel
from tests.wire.peer import Request, Wire, answering, echo

PATH = "/a.v1.Things/Get"
echo_script = answering(echo)


def hang(wire: Wire, request: Request) -> None:
    """Answers nothing, but what says so."""
    if request.message != b"x":
        echo(wire, request)


def error_of(channel: Channel, **options: float) -> ContainerdError:
    with pytest.raises(ContainerdError) as caught:
        channel.unary(PATH, b"x", **options)  # type: ignore[arg-type]
    return caught.value
