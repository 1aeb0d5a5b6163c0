"""The ends of a transfer as ``Any`` values: every field, both ways."""

from __future__ import annotations

import pickle
from datetime import datetime, timezone
from typing import Any

import pytest

from containerd_lite.errors import InvalidArgument, ProtocolError
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.platform import Platform
from containerd_lite.schema.plain import plain
from containerd_lite.schema.pool import CONTAINERD
from containerd_lite.services._types import AnyValue
from containerd_lite.services.transfer import TransferOptions, TransferService
from containerd_lite.services.transfer_types import (
    AuthRequest,
    AuthResponse,
    ContainerPath,
    ImageExportStream,
    ImageImportStream,
    ImageReference,
    ImageStore,
    OCIRegistry,
    Progress,
    ReadStream,
    TransferResolver,
    TransferValue,
    UnpackConfiguration,
    WriteStream,
    transfer_value,
)
from tests.unit.services.scripted import serving

pytestmark = pytest.mark.backend

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
DIGEST = "sha256:" + "1" * 64
ARM = Platform("linux", "arm", "v7", "6.1", ("a", "b"))
ARM_FIELDS = {
    "os": "linux",
    "architecture": "arm",
    "variant": "v7",
    "os_version": "6.1",
    "os_features": ["a", "b"],
}
CASES: list[tuple[TransferValue, str, dict[str, Any]]] = [
    (
        OCIRegistry("r/a:1", TransferResolver("s", {"h": "v"}, "/d", "http", "both", "l")),
        "OCIRegistry",
        {
            "reference": "r/a:1",
            "resolver": {
                "auth_stream": "s",
                "headers": {"h": "v"},
                "host_dir": "/d",
                "default_scheme": "http",
                "http_debug": "BOTH",
                "logs_stream": "l",
            },
        },
    ),
    (OCIRegistry("r/a:1"), "OCIRegistry", {"reference": "r/a:1", "resolver": None}),
    (
        ImageStore(
            "n",
            {"a": "b"},
            (ARM,),
            True,
            3,
            (ImageReference("x", True, True, True, True), ImageReference("y")),
            (UnpackConfiguration(ARM, "native"),),
        ),
        "ImageStore",
        {
            "name": "n",
            "labels": {"a": "b"},
            "platforms": [ARM_FIELDS],
            "all_metadata": True,
            "manifest_limit": 3,
            "extra_references": [
                {
                    "name": "x",
                    "is_prefix": True,
                    "allow_overwrite": True,
                    "add_digest": True,
                    "skip_named_digest": True,
                },
                {
                    "name": "y",
                    "is_prefix": False,
                    "allow_overwrite": False,
                    "add_digest": False,
                    "skip_named_digest": False,
                },
            ],
            "unpacks": [{"platform": ARM_FIELDS, "snapshotter": "native"}],
        },
    ),
    (
        ImageImportStream("s", "m", True),
        "ImageImportStream",
        {"stream": "s", "media_type": "m", "force_compress": True},
    ),
    (
        ImageExportStream("s", "m", (ARM,), True, True, True),
        "ImageExportStream",
        {
            "stream": "s",
            "media_type": "m",
            "platforms": [ARM_FIELDS],
            "all_platforms": True,
            "skip_compatibility_manifest": True,
            "skip_non_distributable": True,
        },
    ),
    (
        ContainerPath("c", "/p", True, True),
        "ContainerPath",
        {"container_id": "c", "path": "/p", "no_walk": True, "preserve_ownership": True},
    ),
    (ReadStream("s", "m"), "ReadStream", {"stream": "s", "media_type": "m"}),
    (WriteStream("s", "m"), "WriteStream", {"stream": "s", "media_type": "m"}),
    (
        Progress("saved", "n", ("p", "q"), 1, 2, Descriptor("t", DIGEST, 3, {"a": "b"})),
        "Progress",
        {
            "event": "saved",
            "name": "n",
            "parents": ["p", "q"],
            "progress": 1,
            "total": 2,
            "desc": {
                "media_type": "t",
                "digest": DIGEST,
                "size": 3,
                "annotations": {"a": "b"},
            },
        },
    ),
    (
        AuthRequest("h", "r", ("Basic", "Bearer")),
        "AuthRequest",
        {"host": "h", "reference": "r", "wwwauthenticate": ["Basic", "Bearer"]},
    ),
    (
        AuthResponse("header", "secret", "user", WHEN),
        "AuthResponse",
        {"authType": "HEADER", "secret": "secret", "username": "user", "expire_at": WHEN},
    ),
]


@pytest.mark.parametrize(("value", "name", "fields"), CASES, ids=lambda one: str(one)[:30])
def test_both_ways(value: TransferValue, name: str, fields: dict[str, Any]) -> None:
    made = value.to_any()
    assert made.type_url == f"containerd.types.transfer.{name}"
    kind = CONTAINERD.message(made.type_url)
    assert plain(kind.FromString(made.value)) == fields
    back = transfer_value(made)
    assert back == value
    assert vars(back) == vars(value)  # what equality leaves out, too
    assert pickle.loads(pickle.dumps(value)) == value


def test_what_is_not_told() -> None:
    for value in (Progress("x"), AuthResponse(), ImageStore(), ImageExportStream("s")):
        assert transfer_value(value.to_any()) == value


def test_secrets_are_not_shown() -> None:
    shown = repr([AuthResponse("refresh", "hush"), TransferResolver(headers={"a": "hush"})])
    assert "hush" not in shown
    assert "refresh" in shown


@pytest.mark.parametrize("word", ["", "HEADER", "headers"])
def test_words_that_are_none(word: str) -> None:
    with pytest.raises(InvalidArgument, match="none, credentials, refresh, header"):
        AuthResponse(word).to_any()
    with pytest.raises(InvalidArgument, match="disabled"):
        OCIRegistry("r", TransferResolver(http_debug=word)).to_any()


@pytest.mark.parametrize("value", [-1, "many"])
def test_values_that_do_not_fit(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="invalid value: ImageStore"):
        ImageStore("busybox", manifest_limit=value).to_any()


def test_what_nobody_knows_stays() -> None:
    unknown = AnyValue("containerd.types.transfer.Later", b"\x08\x01")
    assert transfer_value(unknown) is unknown
    kind = CONTAINERD.message("containerd.types.transfer.AuthResponse")
    later = AnyValue(kind.DESCRIPTOR.full_name, kind(authType=9).SerializeToString())
    assert transfer_value(later) == AuthResponse("9")
    with pytest.raises(ProtocolError):
        transfer_value(AnyValue("containerd.types.transfer.Progress", b"\xff"))


def test_the_request() -> None:
    name = "containerd.services.transfer.v1.Transfer/Transfer"
    asked: list[Any] = []
    source, destination = ReadStream("a"), AnyValue("a.B", b"c")
    with serving({name: lambda request: [{}]}, asked) as (channel, context):
        service = TransferService(channel, context)
        service.transfer(source, destination)
        service.transfer(destination, source, TransferOptions("p"))
    first, second = map(plain, asked)
    theirs = {"type_url": "a.B", "value": b"c"}
    ours = {"type_url": source.to_any().type_url, "value": source.to_any().value}
    assert first == {"source": ours, "destination": theirs, "options": None}
    assert second == {
        "source": theirs,
        "destination": ours,
        "options": {"progress_stream": "p"},
    }
