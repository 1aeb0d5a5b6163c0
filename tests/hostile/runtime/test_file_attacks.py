"""FIFOs and devices in place of files, and labels that are not what they say."""

from __future__ import annotations

import base64
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import FailedPrecondition, InvalidArgument
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.manifest import Manifest, parse
from containerd_lite.runtime.network import Network
from containerd_lite.runtime.spec.specs import make_spec
from containerd_lite.runtime.users.kept_users import UserFileCache, _digest_of
from containerd_lite.runtime.watch.logs import read_log
from tests.unit.services.scripted_daemon import serving


@pytest.fixture(params=["fifo", "fifo with a writer", "device", "folder"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """The path of something that is no regular file."""
    path = tmp_path / "odd.conflist"
    if request.param == "device":
        path.symlink_to("/dev/zero")
    elif request.param == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    if request.param != "fifo with a writer":
        yield path
        return
    descriptor = os.open(path, os.O_RDWR)
    os.write(descriptor, b'{"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "x"}]}')
    yield path
    os.close(descriptor)


def test_a_network_that_is_no_file(odd: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"not a regular file|cannot be read"):
        Network.load("n", folder=odd.parent)


@pytest.mark.parametrize("option", ["spec", "seccomp", "env_files"])
def test_an_option_that_is_no_file(odd: Path, option: str) -> None:
    given: Any = {option: [odd] if option == "env_files" else odd}
    with pytest.raises(InvalidArgument, match=option):
        make_spec("ns", "id", None, ["x"], given)


def test_a_log_that_is_no_file(odd: Path) -> None:
    for tail in (None, 1):
        with pytest.raises((FailedPrecondition, InvalidArgument)):
            list(read_log(os.fsencode(odd), tail=tail, follow=None, timeout=5))


@pytest.mark.parametrize(
    "plain",
    [b"[" * 100_000, b'{"a":' * 20_000, b"5", b"[5, 6]", b"[null]", b'"ab"', b"", bytes(1 << 20)],
    ids=["deep list", "deep object", "number", "numbers", "one", "text", "nothing", "long"],
)
def test_a_label_of_users_that_is_none(plain: bytes) -> None:
    layer = Descriptor(media_types.OCI_LAYER, digests.of(b"layer"), 1 << 20)
    config = Descriptor(media_types.OCI_CONFIG, digests.of(b"{}"), 2)
    body = {"schemaVersion": 2, "config": config.to_json(), "layers": [layer.to_json()]}
    manifest = parse(json.dumps(body).encode(), media_types.OCI_MANIFEST)
    assert isinstance(manifest, Manifest)
    packed = base64.b64encode(zlib.compress(plain)).decode()
    label = {"containerd-lite/users": f"{_digest_of((layer,))}.{packed}"}

    def info(message: Any) -> dict[str, Any]:
        return {"info": {"digest": message.digest, "size": 2, "labels": label}}

    with serving({"Content/Info": info}, []) as (channel, _), Client(channel=channel) as client:
        found = UserFileCache().get(client.content_store, manifest)
    assert found == ((b"a", b"b") if plain == b'"ab"' else None)
