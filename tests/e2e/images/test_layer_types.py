"""Layers of types that only a daemon can read, and what refers to an image and is none itself."""

from __future__ import annotations

import pytest

from containerd_lite import Client
from containerd_lite.images.gc_labels import SUBJECT
from containerd_lite.oci.descriptor import Descriptor
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.images import Image, Json, Layer
from tests.harness.registry import Registry
from tests.unit.images.own import OwnResolver

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.generations]

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
SCRAMBLED = f"{GZIP}+scrambled"
#: Takes what is scrambled for what it is.
PROCESSOR = f"""
[stream_processors."test"]
accepts = ["{SCRAMBLED}"]
returns = "{GZIP}"
path = "/bin/cat"
"""
REFERRER = "containerd.io/gc.ref.content.referrer.sha256."
SIGNATURE = "application/vnd.dev.cosign.simplesigning.v1+json"


def scrambled(manifest: Json) -> None:
    for layer in manifest["layers"]:
        layer["mediaType"] = SCRAMBLED


def test_layers_that_the_daemon_decodes(daemon: Daemon, registry: Registry) -> None:
    image = images.random_image([1000, 2000], change_manifest=scrambled)
    ref = images.push(image, registry.host, "scrambled", "1")
    local = ["--local"] if daemon.version_info >= (1, 7) else []
    with Daemon(daemon.generation, extra=PROCESSOR) as own:
        theirs = own.new_namespace()
        own.ctr("images", "pull", "--plain-http", *local, ref, namespace=theirs)
        with (
            Client(own.address, namespace=own.namespace) as client,
            Client(own.address, namespace=theirs) as judge,
        ):
            pulled = client.pull(ref)
            assert pulled.is_unpacked()
            labels = client.content_store.info(image.digest).labels
            assert labels == judge.content_store.info(image.digest).labels
            assert sum("gc.ref.content.l." in key for key in labels) == 2


# ---- what refers to an image -------------------------------------------------------------------

IMAGE = images.random_image([1000], seed=90)


class WithReferrers(OwnResolver):
    """Says that these images refer to ``IMAGE``."""

    def __init__(self, *others: Image) -> None:
        blobs = {digest: blob for one in (IMAGE, *others) for digest, blob in one.blobs.items()}
        super().__init__(Image(IMAGE.manifest, blobs))
        self._others = others

    def referrers(self, descriptor: Descriptor) -> list[Descriptor]:
        others = self._others if descriptor.digest == IMAGE.digest else ()
        return [Descriptor.from_json(one.manifest) for one in others]


def signature() -> Image:
    """As cosign makes one: an image's config that names no platform, layers of its own kind."""

    def sign(manifest: Json) -> None:
        manifest["layers"][0]["mediaType"] = SIGNATURE
        manifest["subject"] = IMAGE.manifest

    def nowhere(config: Json) -> None:
        config["architecture"] = config["os"] = ""

    body = b'{"critical":{}}'
    signed = [Layer(body, images.digest_of(body), "")]
    return images.build(signed, change_manifest=sign, change_config=nowhere)


def elsewhere() -> Image:
    return images.index_of(
        {"linux/s390x": images.random_image([500], seed=91, platform="linux/s390x")},
        subject=IMAGE.manifest,
    )


def another() -> Image:
    return images.random_image(
        [700], seed=92, change_manifest=lambda manifest: manifest.update(subject=IMAGE.manifest)
    )


@pytest.mark.parametrize("other", [signature(), elsewhere(), another()], ids=["1", "2", "3"])
def test_what_refers_to_an_image_comes_and_is_not_unpacked(client: Client, other: Image) -> None:
    resolver = WithReferrers(other)
    pulled = client.pull("Own Name!", referrers=True, resolver=resolver)
    assert pulled.is_unpacked()
    assert len(list(client.snapshot_service().list())) == len(IMAGE.layers)
    here = {info.digest for info in client.content_store.walk()}
    assert here == {*IMAGE.blobs, *other.blobs}
    label = f"{REFERRER}{other.digest.partition(':')[2][:12]}"
    assert client.content_store.info(IMAGE.digest).labels[label] == other.digest
    client.lease_service.delete(client.lease_service.create().id, sync=True)
    assert {info.digest for info in client.content_store.walk()} == here
    pulled.delete(sync=True)
    assert list(client.content_store.walk()) == []


def test_a_referrer_in_an_index_is_labelled_as_by_ctr(
    daemon: Daemon, client: Client, registry: Registry
) -> None:
    noted = another()
    noted = Image({**noted.manifest, "annotations": {SUBJECT: IMAGE.digest}}, noted.blobs)
    index = images.index_of({images.machine_platform(): IMAGE, "linux/s390x": noted})
    ref = images.push(index, registry.host, "noted", "1")
    client.pull(ref, all_platforms=True)
    labels = {k: v for k, v in client.content_store.info(index.digest).labels.items() if "gc" in k}
    prefix = "containerd.io/gc.ref.content"
    assert labels == {
        f"{prefix}.m.0": IMAGE.digest,
        f"{REFERRER}{noted.digest.partition(':')[2][:12]}": noted.digest,
    }
    if daemon.version_info >= (2, 2):
        other = client.in_namespace(daemon.new_namespace())
        arguments = ("content", "fetch", "--plain-http", "--all-platforms", ref)
        daemon.ctr(*arguments, namespace=other.namespace)
        assert labels.items() <= other.content_store.info(index.digest).labels.items()
        other.get_image(ref).delete(sync=True)


def test_a_signature_is_pulled_as_an_artifact_is(client: Client, registry: Registry) -> None:
    signed = signature()
    ref = images.push(signed, registry.host, "signed", "sig")
    client.pull(ref)
    assert {info.digest for info in client.content_store.walk()} == signed.blobs.keys()
