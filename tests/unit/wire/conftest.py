"""Each script of a server runs whole, byte by byte, and with frames torn in other places."""

from __future__ import annotations

import pytest

from tests.wire.client import Client


@pytest.fixture(params=[0, 1, 7], ids=["whole", "byte by byte", "by sevens"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(step=request.param)
