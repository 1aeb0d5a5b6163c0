"""Image configs and chain IDs."""

from __future__ import annotations

import hashlib
import json
import pickle

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.oci import digest as digests
from containerd_lite.oci.config import History, ImageConfig, chain_ids
from containerd_lite.oci.platform import Platform

A, B, C = (digests.of(text) for text in (b"a", b"b", b"c"))


def test_a_full_config() -> None:
    body = {
        "created": "2024-01-01T00:00:00Z", "author": "me", "architecture": "arm", "os": "linux",
        "variant": "v7", "os.version": "1", "docker_version": "20", "container_config": {"Cmd": 7},
        "config": {
            "User": "1000:1000", "ExposedPorts": {"80/tcp": {}}, "Env": ["PATH=/bin", "A="],
            "Entrypoint": ["/bin/sh"], "Cmd": ["-c", "true"], "Volumes": {"/data": {}},
            "WorkingDir": "/", "Labels": {"a": "b"}, "StopSignal": "SIGTERM",
        },
        "rootfs": {"type": "layers", "diff_ids": [A, B]},
        "history": [{"created_by": "x", "empty_layer": True}, {"comment": "y"}],
    }  # fmt: skip
    found = ImageConfig.parse(json.dumps(body).encode())
    assert found == ImageConfig(
        platform=Platform("linux", "arm", "v7", "1"),
        diff_ids=(A, B),
        created="2024-01-01T00:00:00Z",
        author="me",
        env=("PATH=/bin", "A="),
        entrypoint=("/bin/sh",),
        cmd=("-c", "true"),
        working_dir="/",
        user="1000:1000",
        stop_signal="SIGTERM",
        exposed_ports=("80/tcp",),
        volumes=("/data",),
        labels={"a": "b"},
        history=(History(created_by="x", empty_layer=True), History(comment="y")),
    )
    assert pickle.loads(pickle.dumps(found)) == found
    assert hash(found)


def test_nulls_are_absent() -> None:
    names = ("Env", "Entrypoint", "Cmd", "Volumes", "Labels", "ExposedPorts", "User")
    body = {"config": dict.fromkeys(names), "rootfs": {"diff_ids": []}, "history": None}
    found = ImageConfig.parse(json.dumps(body).encode())
    assert found == ImageConfig(Platform("", ""), ())
    assert ImageConfig.parse(b'{"rootfs":{},"config":null}').diff_ids == ()


@pytest.mark.parametrize(
    "body",
    [
        {}, {"rootfs": None}, {"rootfs": []}, {"rootfs": {"type": "zip"}},
        {"rootfs": {"diff_ids": "x"}}, {"rootfs": {"diff_ids": ["sha256:x"]}},
        {"rootfs": {"diff_ids": [None]}}, {"rootfs": {}, "config": []},
        {"rootfs": {}, "config": {"Env": "A=b"}}, {"rootfs": {}, "config": {"Env": [1]}},
        {"rootfs": {}, "config": {"Labels": {"a": 1}}}, {"rootfs": {}, "config": {"User": 0}},
        {"rootfs": {}, "config": {"env": []}}, {"rootfs": {}, "Architecture": "arm"},
        {"rootfs": {}, "history": [{"empty_layer": 1}]}, {"rootfs": {}, "os": 1},
        {"rootfs": {}, "config": {"Volumes": []}}, {"rootfs": {"DIFF_IDS": []}},
    ],
)  # fmt: skip
def test_broken_configs(body: object) -> None:
    with pytest.raises(InvalidArgument, match="image config"):
        ImageConfig.parse(json.dumps(body).encode())


def test_chain_ids_are_hashes_of_chain_and_layer() -> None:
    second = "sha256:" + hashlib.sha256(f"{A} {B}".encode()).hexdigest()
    third = "sha256:" + hashlib.sha256(f"{second} {C}".encode()).hexdigest()
    assert chain_ids([A, B, C]) == (A, second, third)
    assert chain_ids([]) == ()
    with pytest.raises(InvalidArgument):
        chain_ids([A, "sha256:x"])
