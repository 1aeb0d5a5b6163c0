"""Certificates that processes of one test run share."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness import cache, tls


@pytest.mark.skipif(not shutil.which("openssl"), reason="the test's cache is empty")
def test_who_comes_at_once_gets_the_same_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker of a lane asks for it, and a registry of the first may run by then.

    What this process remembers of its own certificate is passed by.
    """
    make = tls.localhost_pem.__wrapped__
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: make().read_bytes(), range(4)))
    assert found == [found[0]] * 4
    assert list(tmp_path.iterdir()) == [tmp_path / "localhost.pem"]
