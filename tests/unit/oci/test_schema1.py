"""Manifests of schema 1: what is signed, what is read, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.oci import digest as digests
from containerd_lite.oci import schema1
from containerd_lite.oci.config import ImageConfig
from containerd_lite.oci.platform import Platform

A, B = (digests.of(text) for text in (b"a", b"b"))
EMPTY = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"

#: As docker-registry 2.8 gave it, and the digest by which it did.
REAL = r"""{
   "schemaVersion": 1,
   "name": "app",
   "tag": "two",
   "architecture": "amd64",
   "fsLayers": [
      {
         "blobSum": "sha256:593bc465079aa8121bed31f84f8d491c1960601b14cfba5b6a3f1b503d82dae8"
      }
   ],
   "history": [
      {
         "v1Compatibility": "{\"architecture\":\"amd64\",\"config\":{\"Env\":[\"PATH=/bin\"],\"Cmd\":[\"sh\"]},\"created\":\"1970-01-01T00:00:00Z\",\"id\":\"53018fff55f0e3efe57c771b8b66916524cf8c22ca58fbe6090dc1ca1b5c4fa3\",\"os\":\"linux\"}"
      }
   ],
   "signatures": [
      {
         "header": {
            "jwk": {
               "crv": "P-256",
               "kid": "TXEH:R4NX:KLS2:66OW:RMHS:2FYZ:ZFSN:OXNZ:B6RH:FUYL:JVKV:N2TI",
               "kty": "EC",
               "x": "ZMe5WRXSQlvYjnkTMOXv5-3YzT42-Ar0ejYc-bzjs7Y",
               "y": "iRxZObTokco0hyBPD_PPD2x8LMlFz5sF7QINloPD6qQ"
            },
            "alg": "ES256"
         },
         "signature": "DDUYIsey03fMiryemJbXmICB56KakgSDMW1OODj0LMz7Ax1VLMiAt30vrk5EsVTQrVHYF-_XAZ0tzX6fFyWrnQ",
         "protected": "eyJmb3JtYXRMZW5ndGgiOjUwMCwiZm9ybWF0VGFpbCI6IkNuMCIsInRpbWUiOiIyMDI2LTExLTI1VDAxOjE3OjExWiJ9"
      }
   ]
}"""  # noqa: E501
REAL_DIGEST = "sha256:f463af520c869aa4815c93257253c37fa8728a28098bfb1b082d31d9ca166f6a"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signature(length: object, tail: bytes = b"}", **header: object) -> dict[str, object]:
    protected = json.dumps({"formatLength": length, "formatTail": base64url(tail)}).encode()
    return {"header": header, "signature": "eA", "protected": base64url(protected)}


def signed(payload: bytes, *signatures: dict[str, object], alg: str = "ES256") -> bytes:
    """The payload as libtrust prints it, but for the value of the signature."""
    length = len(payload) - 1
    each = signatures or (signature(length, alg=alg),)
    return payload[:length] + b',"signatures":' + json.dumps(each).encode() + b"}"


def payload_of(blobs: list[str], images: list[dict[str, Any]], **more: object) -> bytes:
    """Layers and images, newest first."""
    value = {
        "schemaVersion": 1, "name": "app", "tag": "1", "architecture": "amd64",
        "fsLayers": [{"blobSum": blob} for blob in blobs],
        "history": [{"v1Compatibility": json.dumps(image)} for image in images],
        **more,
    }  # fmt: skip
    return json.dumps(value).encode()


PAYLOAD = payload_of([A], [{"os": "linux"}])


def test_the_digest_is_that_of_the_payload() -> None:
    found = schema1.payload(REAL.encode())
    assert digests.of(found) == REAL_DIGEST
    image = schema1.parse(found)
    assert [step.blob[7:15] for step in image.steps] == ["593bc465"]
    assert image.newest.document("config") is not None


@pytest.mark.parametrize("alg", ["ES256", "none"])
def test_signatures_are_not_believed_whatever_they_are(alg: str) -> None:
    """Whoever changes the payload can sign it anew: only its digest tells (alg none)."""
    assert schema1.payload(signed(PAYLOAD, alg=alg)) == PAYLOAD
    other = PAYLOAD.replace(A.encode(), B.encode())
    assert digests.of(schema1.payload(signed(other, alg=alg))) != digests.of(PAYLOAD)


def test_without_signatures_it_is_its_own_payload() -> None:
    assert schema1.payload(PAYLOAD) == PAYLOAD


END = len(PAYLOAD) - 1
TWICE = PAYLOAD[:-1] + b',"fsLayers":[]}'


@pytest.mark.parametrize(
    "body",
    [
        signed(PAYLOAD, signature(END - 1)),
        signed(PAYLOAD, signature(END + 1)),
        signed(PAYLOAD, signature(0)),
        signed(PAYLOAD, signature(-1)),
        signed(PAYLOAD, signature(1 << 40)),
        signed(PAYLOAD, signature("7")),
        signed(PAYLOAD, signature(None)),
        signed(PAYLOAD, signature(END, b"")),
        signed(PAYLOAD, signature(END, b',"tag":"2"}')),
        signed(PAYLOAD, signature(END), signature(END, b" }")),
        signed(PAYLOAD)[:-1] + b',"fsLayer":[]}',
        signed(PAYLOAD)[:-1] + b',"fsLayers":[]}',
        signed(PAYLOAD)[:-1] + b',"FSLayers":[]}',
        signed(PAYLOAD)[:-1] + b',"signatures":[]}',
        PAYLOAD[:-1] + b',"signatures":[]}',
        PAYLOAD[:-1] + b',"signatures":{}}',
        PAYLOAD[:-1] + b',"Signatures":[{}]}',
        signed(PAYLOAD, {"protected": "e30"}),
        signed(PAYLOAD, {"protected": "e"}),
        signed(PAYLOAD, {"protected": "e30="}),
        signed(PAYLOAD, {"protected": base64url(b'{"formatLength":1,"formatlength":2}')}),
        signed(PAYLOAD, {"signature": "x"}),
        signed(TWICE),
        signed(PAYLOAD) + b"}",
        b"[]",
        b"",
        b" " * ((4 << 20) + 1),
    ],
)  # fmt: skip
def test_what_is_signed_must_be_what_is_there(body: bytes) -> None:
    with pytest.raises(InvalidArgument):
        schema1.payload(body)


def image(**more: object) -> list[dict[str, Any]]:
    return [{"os": "linux", **more}]


@pytest.mark.parametrize(
    "body",
    [
        payload_of([A], []),
        payload_of([], []),
        payload_of([A], image() * 2),
        payload_of([A] * 1025, image() * 1025),
        payload_of(["sha256:../../etc"], image()),
        payload_of(["md5:" + "0" * 32], image()),
        payload_of([A], image(), schemaVersion=2),
        payload_of([A], image(), schemaVersion=True),
        payload_of([A], image(), mediaType="application/vnd.oci.image.manifest.v1+json"),
        payload_of([A], image(), layers=[]),
        payload_of([A], image(), config={}),
        payload_of([A], image(), manifests=[]),
        payload_of([A], image(), FsLayers=[]),
        PAYLOAD[:-1] + b',"history":[]}',
        payload_of([A], image(), fsLayers=[{"blobSum": A, "blobsum": B}]),
        payload_of([A], image(), history=[{"v1Compatibility": '{"os":"a","os":"b"}'}]),
        payload_of([A], image(), history=[{"v1Compatibility": '{"os":"a","OS":"b"}'}]),
        payload_of([A], image(), history=[{"v1Compatibility": "[]"}]),
        payload_of([A], image(), history=[{"v1Compatibility": {}}]),
        payload_of([A], image(), history=[{}]),
        payload_of([A], image(throwaway=1)),
        payload_of([A], image(Size=-1)),
        payload_of([A], image(size=0)),
        payload_of([A], image(created="yesterday")),
        payload_of([A], image(container_config={"Cmd": "sh"})),
        payload_of([A], image(comment="\ud800")),
    ],
)  # fmt: skip
def test_manifests_that_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidArgument):
        schema1.parse(body)


@pytest.mark.parametrize("config", [{"Env": "A=1"}, {"env": []}, {"Volumes": []}, 7])
def test_settings_that_are_refused(config: object) -> None:
    found = schema1.parse(payload_of([A], image(config=config)))
    with pytest.raises(InvalidArgument):
        found.config([A], {A: False})


@pytest.mark.parametrize(
    ("blob", "about", "is_empty"),
    [
        (A, {}, False),
        (A, {"throwaway": True}, True),
        (A, {"throwaway": False, "Size": 0}, False),
        (A, {"throwaway": None, "Size": 0}, True),
        (A, {"Size": 7}, False),
        (A, {"Size": None}, False),
        (EMPTY, {"Size": 7}, True),
    ],
)
def test_which_steps_have_no_content(blob: str, about: dict[str, Any], is_empty: bool) -> None:
    (step,) = schema1.parse(payload_of([blob], [about])).steps
    assert step.history.empty_layer == is_empty


def test_the_config_is_the_newest_image_and_all_of_the_history() -> None:
    images: list[dict[str, Any]] = [
        {
            "id": "2", "parent": "1", "created": "2016-01-02T03:04:05.120000000Z",
            "author": "me", "architecture": "arm64", "variant": "v8", "os": "linux",
            "docker_version": "1.9", "comment": "last", "throwaway": True,
            "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) CMD"], "Image": "x"},
            "config": {
                "Hostname": "h", "AttachStdin": False, "User": "u", "Env": ["A=1"],
                "Cmd": ["run"], "Entrypoint": None, "Volumes": {"/b": {}, "/a": {}},
                "ExposedPorts": {"80/tcp": {}}, "WorkingDir": "/w", "Labels": {"b": "1", "a": "2"},
                "StopSignal": "SIGINT", "ArgsEscaped": True,
            },
        },
        {"id": "1", "Size": 5, "config": {"Env": ["OLD=1"]}},
    ]  # fmt: skip
    found = schema1.parse(payload_of([EMPTY, A], images))
    value = found.config([B], {EMPTY: True, A: False})
    assert list(value) == [
        "created", "author", "architecture", "os", "variant", "config", "rootfs", "history",
    ]  # fmt: skip
    assert value["history"] == [
        {"created": "0001-01-01T00:00:00Z"},
        {
            "created": "2016-01-02T03:04:05.12Z",
            "created_by": "/bin/sh -c #(nop) CMD",
            "author": "me",
            "comment": "last",
            "empty_layer": True,
        },
    ]
    config = ImageConfig.parse(json.dumps(value).encode())
    assert config.platform == Platform("linux", "arm64", "v8")
    assert (config.diff_ids, config.env, config.cmd) == ((B,), ("A=1",), ("run",))
    assert (config.user, config.working_dir, config.stop_signal) == ("u", "/w", "SIGINT")
    assert (config.volumes, config.exposed_ports) == (("/a", "/b"), ("80/tcp",))
    assert config.labels == {"a": "2", "b": "1"}
    assert value["config"] == {
        "User": "u", "ExposedPorts": {"80/tcp": {}}, "Env": ("A=1",), "Cmd": ("run",),
        "Volumes": {"/a": {}, "/b": {}}, "WorkingDir": "/w", "Labels": {"a": "2", "b": "1"},
        "StopSignal": "SIGINT", "ArgsEscaped": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("2016-01-02T03:04:05Z", "2016-01-02T03:04:05Z"),
        ("2016-01-02T03:04:00.000Z", "2016-01-02T03:04:00Z"),
        ("2016-01-02T03:04:05.1234567899Z", "2016-01-02T03:04:05.123456789Z"),
        ("2016-01-02T03:04:05+00:00", "2016-01-02T03:04:05Z"),
        ("2016-01-02T03:04:05.500-07:00", "2016-01-02T03:04:05.5-07:00"),
    ],
)
def test_times_are_as_go_writes_them(text: str, again: str) -> None:
    found = schema1.parse(payload_of([A], image(created=text)))
    assert found.config([A], {A: False})["created"] == again
