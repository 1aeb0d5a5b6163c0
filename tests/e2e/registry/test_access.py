"""The whole round at a registry that asks nobody, and at one that wants a password."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from containerd_lite.errors import RegistryUnauthorized
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.upload import Outcome
from tests.e2e.registry.rounds import asked, fetch, named, note, push, whole_round
from tests.harness.images import Image
from tests.harness.registry import Registry as Server

pytestmark = pytest.mark.registry

Open = Callable[[Any], Any]

SECRET = "hush-canary"
USER = Credentials("user", SECRET)


@pytest.mark.parametrize("name", ["host", "localhost"])
def test_the_whole_round_for_everybody(
    name: str, server: Server, image: Image, index: Image
) -> None:
    with Registry(getattr(server, name)) as registry:
        whole_round(registry, image, index)
        assert registry.warnings == ()


def test_the_whole_round_with_a_password(opened: Open, image: Image, index: Image) -> None:
    server = opened(Server(("user", SECRET)))
    registry = opened(Registry(server.host, credentials=USER))
    before = len(asked(server))
    whole_round(registry, image, index)
    # After the first challenge the password goes along unasked.
    assert [status for _, status in asked(server)[before:]].count(401) == 1


def test_what_was_pushed_by_other_means_is_fetched_with_the_password(
    opened: Open, image: Image
) -> None:
    server = opened(Server(("user", SECRET)))
    push(opened(Registry(server.host, credentials=USER)), named(server.host), image)
    source = {server.host: USER}.get
    assert fetch(opened(Registry(server.host, credentials=source)), named(server.host)) == dict(
        image.blobs
    )


@pytest.mark.parametrize(
    ("credentials", "remedy"),
    [
        (None, "Give credentials"),
        (Credentials("user", f"not-{SECRET}"), "Check the user name and password"),
        (Credentials("nobody", SECRET), "Check the user name and password"),
    ],
    ids=["none", "a wrong password", "a wrong user"],
)
def test_who_may_not_enter_is_told_so_by_every_method(
    credentials: Credentials | None, remedy: str, opened: Open, image: Image
) -> None:
    server = opened(Server(("user", SECRET)))
    reference = named(server.host)
    top = push(opened(Registry(server.host, credentials=USER)), reference, image)
    layer = Descriptor.from_json(image.layers[0])
    registry = opened(Registry(server.host, credentials=credentials))
    body = image.blobs[image.digest]
    calls: list[Callable[[], object]] = [
        lambda: registry.resolve(reference),
        lambda: registry.fetch_manifest(reference, top),
        lambda: registry.open_blob(reference, layer),
        lambda: registry.upload_blob(reference, layer, image.blobs[layer.digest]),
        lambda: registry.push_manifest(reference, body),
        lambda: list(registry.tags(reference)),
        lambda: list(registry.catalog()),
        lambda: registry.delete(reference.with_digest(top.digest)),
    ]
    for call in calls:
        with pytest.raises(RegistryUnauthorized, match=remedy) as caught:
            call()
        assert caught.value.status == 401
        assert caught.value.codes == ("UNAUTHORIZED",) or not caught.value.codes
        shown = str(pickle.loads(pickle.dumps(caught.value))) + repr(caught.value) + repr(registry)
        assert SECRET not in shown


@pytest.mark.parametrize("way", ["whole", "chunks", "single"])
@pytest.mark.parametrize("auth", [None, ("user", SECRET)], ids=["anonymous", "password"])
def test_each_way_to_upload(
    way: str, auth: tuple[str, str] | None, opened: Open, image: Image
) -> None:
    server = opened(Server(auth))
    registry = opened(Registry(server.host, credentials=USER if auth else None))
    reference, layer = named(server.host), Descriptor.from_json(image.layers[1])
    body = image.blobs[layer.digest]
    chunk_size = 100_000 if way == "chunks" else None
    outcome = registry.upload_blob(
        reference, layer, body, chunk_size=chunk_size, single_post=way == "single"
    )
    assert outcome is Outcome.UPLOADED
    taken = [line for line, status in asked(server) if status < 300]
    assert [line for line in taken if "/uploads/?digest=" in line] == (
        [f"POST /v2/app/blobs/uploads/?digest=sha256%3A{layer.digest[7:]}"] * (way == "single")
    )
    methods = [line.partition(" ")[0] for line in taken]
    patches = -(-layer.size // 100_000) if way == "chunks" else 0
    assert [one for one in methods if one != "GET"] == ["POST", *["PATCH"] * patches, "PUT"]
    with registry.open_blob(reference, layer) as reader:
        assert reader.read() == body


def test_referrers_are_kept_under_the_fallback_tag(
    server: Server, opened: Open, image: Image
) -> None:
    registry, reference = opened(Registry(server.host)), named(server.host)
    top = push(registry, reference, image)
    attached = note(top)
    push(registry, named(server.host, tag="note"), attached)
    push(registry, named(server.host, tag="again"), attached)
    tag = top.digest.replace(":", "-")
    assert sorted(registry.tags(reference)) == ["1", "again", "note", tag]
    found = registry.referrers(reference.with_digest(top.digest))
    assert [one.digest for one in found] == [attached.digest]
    lines = [line for line, _ in asked(server)]
    assert f"GET /v2/app/referrers/{top.digest}" in lines
    assert lines.count(f"PUT /v2/app/manifests/{tag}") == 1
