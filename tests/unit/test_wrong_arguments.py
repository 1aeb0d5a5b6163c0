"""Wrong arguments: a typed error names the argument before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.errors import InvalidArgument
from containerd_lite.runtime.io import NullIO

pytestmark = pytest.mark.interpreter


def test_run_refuses_what_needs_detach(tmp_path: Path) -> None:
    with Client(f"{tmp_path}/none") as client:
        with pytest.raises(InvalidArgument, match=r"^streams= requires detach=True.*popen"):
            client.run("x", streams=NullIO())  # type: ignore[call-overload]
        with pytest.raises(InvalidArgument, match=r"^restart= requires detach=True"):
            client.run("x", restart="always")
