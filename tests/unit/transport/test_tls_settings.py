"""The settings of TLS: a value, whose files are told apart when they are no good."""

from __future__ import annotations

import pickle
import ssl
from itertools import product
from pathlib import Path

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.transport.tls import TLS
from tests.harness.tls import Files, openssl
from tests.unit.transport.test_tls import Listener, settings, until_closed

pytestmark = pytest.mark.interpreter


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


def test_settings_are_a_value(files: Files) -> None:
    tls = settings(files, files.client)
    assert pickle.loads(pickle.dumps(tls)) == tls
    assert hash(tls) == hash(settings(files, files.client))
    with pytest.raises(InvalidArgument, match="without a certificate"):
        TLS(key=files.client.key)


def test_there_is_no_renegotiation(files: Files) -> None:
    """RFC 9113, 9.2.1."""
    assert settings(files).context().options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        *product(("ca", "cert", "key"), ("missing", "a folder", "empty", "junk")),
        ("key", "another's"),
        ("key", "locked"),
    ],
)
def test_files_that_are_no_good(files: Files, tmp_path: Path, field: str, kind: str) -> None:
    """They are named; what is in them is not."""
    bad = tmp_path / "bad"
    canary = "canary-5d1e"
    if kind == "a folder":
        bad.mkdir()
    elif kind == "another's":
        bad.write_bytes(files.stranger.key.read_bytes())
    elif kind == "locked":
        openssl(*f"pkey -in {files.client.key} -aes128 -passout pass:{canary} -out {bad}".split())
    elif kind != "missing":
        head, tail = (f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END"))
        bad.write_text("" if kind == "empty" else f"{head}\n{canary}\n{tail}\n")
    good = settings(files, files.client)
    tls = {
        "ca": TLS(bad, good.cert, good.key),
        "cert": TLS(good.ca, bad, good.key),
        "key": TLS(good.ca, good.cert, bad),
    }[field]
    with Listener(until_closed) as listener:
        error = listener.refused(tls)
    assert type(error) is InvalidArgument
    assert str(bad) in error.message
    assert canary not in f"{error} {error!r} {error.__cause__!r} {tls!r}"


@pytest.mark.parametrize("name", [".x", "a\0b", "x" * 300])
def test_a_name_that_is_none(files: Files, name: str) -> None:
    with Listener(until_closed) as listener:
        error = listener.refused(TLS(files.authority.certificate, server_name=name))
        assert type(error) is InvalidArgument
