"""Policies hold for every verb that brings content in, on a daemon and on a folder."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from containerd_lite import Client, Image, Layout, ProgressEvent
from containerd_lite.errors import (
    InvalidArgument,
    NotFound,
    RegistryUnavailable,
    SignatureError,
    SignaturesUnavailable,
    Unsigned,
    Untrusted,
)
from containerd_lite.images.resolver import RegistryResolver
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.registry import Registry as RegistryClient
from containerd_lite.trust import Policy, Rule
from tests.harness import images, signatures
from tests.harness.daemon import Daemon
from tests.harness.keypairs import KeyPair
from tests.harness.registry import Registry

pytestmark = [pytest.mark.registry, pytest.mark.turns(6)]

KEY, OTHER = KeyPair.generate(), KeyPair.generate()
ONE = images.scratch({"one": b"1"})
BOTH = images.index_of(
    {name: images.scratch({"at": name.encode()}) for name in ("linux/amd64", "linux/arm64")}
)
POLICY = Policy({"**": Rule(keys=[KEY.public])})
STRICTER = Policy({"**": Rule(keys=[KEY.public], annotations={"stage": "release"})})

#: Who has signed the image, and the error that follows.
SIGNERS: dict[str, tuple[list[KeyPair], type[SignatureError] | None]] = {
    "unsigned": ([], Unsigned),
    "wrong": ([OTHER], Untrusted),
    "good": ([OTHER, KEY], None),
}


@dataclass
class Case:
    """An image in a registry, and a store that shall get it."""

    store: Client | Layout
    image: images.Image
    ref: str
    folder: Path

    def archive(self, signed: images.Image | None) -> Path:
        """An archive with the image and its signatures."""
        path = self.folder / "archive"
        source = Layout(path)
        source.fetch(self.ref)
        if signed is not None:
            repository = self.ref.rpartition(":")[0]
            source.fetch(f"{repository}:{signatures.tag(self.image.digest)}")
        return path


def push_signed(
    registry: Registry, repository: str, image: images.Image, keys: list[KeyPair]
) -> str:
    ref = images.push(image, registry.host, repository, "1")
    if keys:
        signed = signatures.signed(image, *keys)
        images.push(signed, registry.host, repository, signatures.tag(image.digest))
    return ref


def pull(store: Client | Layout, case: Case, policy: Policy | None) -> object:
    return store.pull(case.ref, unpack=False, policy=policy)


def fetch(store: Client | Layout, case: Case, policy: Policy | None) -> object:
    return store.fetch(case.ref, policy=policy)


def fetch_missing(store: Client | Layout, case: Case, policy: Policy | None) -> object:
    return store.fetch_missing(case.ref, all_platforms=True, policy=policy)


def repair(store: Client | Layout, case: Case, policy: Policy | None) -> object:
    return store.repair(case.ref, all_platforms=True, policy=policy)


def copy(store: Client | Layout, case: Case, policy: Policy | None) -> object:
    return store.copy(case.ref, f"{case.ref}-copy", policy=policy)


def import_images(store: Client | Layout, case: Case, policy: Policy | None) -> object:
    return store.import_images(case.folder / "archive", all_platforms=True, policy=policy)


VERBS: dict[str, Callable[[Client | Layout, Case, Policy | None], object]] = {
    found.__name__: found for found in (pull, fetch, fetch_missing, repair, copy, import_images)
}


def with_policy(store: Client | Layout, policy: Policy) -> Client | Layout:
    """The same store, with a policy of its own."""
    if isinstance(store, Layout):
        return Layout(store.path, policy=policy)
    return Client(store.address, namespace=store.namespace, policy=policy)


@pytest.mark.parametrize("where", ["call", "client"])
@pytest.mark.parametrize("signers", SIGNERS)
@pytest.mark.parametrize("verb", VERBS)
def test_verbs_on_a_folder(
    registry: Registry, tmp_path: Path, verb: str, signers: str, where: str
) -> None:
    check_verb(Layout(tmp_path / "store"), registry, tmp_path, (verb, signers, where))


@pytest.mark.daemon
@pytest.mark.parametrize("where", ["call", "client"])
@pytest.mark.parametrize("signers", SIGNERS)
@pytest.mark.parametrize("verb", VERBS)
def test_verbs_on_a_daemon(
    client: Client, registry: Registry, tmp_path: Path, verb: str, signers: str, where: str
) -> None:
    check_verb(client, registry, tmp_path, (verb, signers, where))


def check_verb(
    store: Client | Layout, registry: Registry, tmp_path: Path, case_: tuple[str, str, str]
) -> None:
    """Call a verb, and check the error, and that nothing got a name."""
    verb, signers, where = case_
    keys, error = SIGNERS[signers]
    kind = type(store).__name__.lower()
    ref = push_signed(registry, f"policy/{verb}/{signers}/{where}/{kind}".lower(), BOTH, keys)
    case = Case(store, BOTH, ref, tmp_path)
    before: list[str] = []
    if verb in ("fetch_missing", "repair"):
        store.pull(ref, unpack=False, platform="linux/amd64")
        before = [ref]
    if verb == "import_images":
        case.archive(BOTH if keys else None)
    used = with_policy(store, POLICY) if where == "client" else store
    call = VERBS[verb]
    try:
        if error is None:
            call(used, case, None if where == "client" else POLICY)
            return
        with pytest.raises(error) as caught:
            call(used, case, None if where == "client" else POLICY)
        assert BOTH.digest in str(caught.value)
        assert bool(caught.value.rejected) == (error is Untrusted)
        assert pickle.loads(pickle.dumps(caught.value)).rejected == caught.value.rejected
        assert [found.name for found in store.list_images()] == before
        if verb == "copy":
            with pytest.raises(NotFound):
                RegistryResolver().resolve(f"{ref}-copy")
    finally:
        if isinstance(used, Client) and used is not store:
            used.close()


def test_what_a_pull_says(registry: Registry, tmp_path: Path) -> None:
    ref = push_signed(registry, "policy/says", ONE, [OTHER, KEY])
    image = Layout(tmp_path / "store").pull(ref, policy=POLICY)
    verdict = image.verdict
    assert verdict is not None
    assert (verdict.digest, verdict.rule) == (ONE.digest, "**")
    (signature,) = verdict.signatures
    assert signature.key == KEY.public.fingerprint
    assert signature.identity is None
    assert signatures.tag(ONE.digest) in signature.where
    assert pickle.loads(pickle.dumps(verdict)) == verdict


def test_no_layer_is_fetched_before_the_verdict(registry: Registry, tmp_path: Path) -> None:
    ref = push_signed(registry, "policy/early", BOTH, [OTHER])
    events: list[ProgressEvent] = []
    layout = Layout(tmp_path / "store")
    with pytest.raises(Untrusted):
        layout.pull(ref, policy=POLICY, progress=events.append)
    assert {event.stage for event in events} == {"resolving", "resolved"}
    assert not list((tmp_path / "store").rglob("sha256/*"))


def test_a_resumed_pull_is_verified_again(registry: Registry, tmp_path: Path) -> None:
    ref = push_signed(registry, "policy/resumed", ONE, [])
    layout = Layout(tmp_path / "store", policy=POLICY)
    for _ in range(2):
        with pytest.raises(Unsigned):
            layout.pull(ref, resume=True)
    Layout(tmp_path / "store").fetch(ref)
    with pytest.raises(Unsigned):  # although all content is here
        layout.pull(ref, resume=True)


def test_a_call_tightens_the_policy_of_its_client(registry: Registry, tmp_path: Path) -> None:
    ref = push_signed(registry, "policy/tight", ONE, [KEY])
    loose = Policy({"**": Rule(accept=True)})
    with pytest.raises(Untrusted, match="stage"):
        Layout(tmp_path / "a", policy=POLICY).pull(ref, policy=STRICTER)
    with pytest.raises(Untrusted, match="stage"):
        Layout(tmp_path / "b", policy=STRICTER).pull(ref, policy=loose)
    image = Layout(tmp_path / "c", policy=loose).pull(ref, policy=POLICY)
    assert image.verdict is not None
    assert len(image.verdict.signatures) == 1


@pytest.mark.daemon
def test_views_and_pickles_keep_the_policy(
    daemon: Daemon, namespace: str, registry: Registry
) -> None:
    ref = push_signed(registry, "policy/kept", ONE, [])
    with Client(daemon.address, namespace=namespace, policy=POLICY) as client:
        view = client.in_namespace(f"{namespace}-b")
        with pickle.loads(pickle.dumps(client)) as copied:
            for each in (client, view, copied):
                with pytest.raises(Unsigned):
                    each.pull(ref, unpack=False)


@pytest.mark.daemon
@pytest.mark.generations
def test_the_daemon_pulls_the_digest_that_was_verified(
    daemon: Daemon, client: Client, registry: Registry
) -> None:
    if daemon.version_info < (2,):
        pytest.skip("without TLS, the daemon pulls since 2.0")
    good = push_signed(registry, "policy/by-daemon", ONE, [KEY])
    image = client.pull(good, unpack=False, policy=POLICY, via="daemon")
    assert (image.name, image.target.digest) == (good, ONE.digest)
    assert image.is_by_daemon
    assert image.verdict is not None
    bad = push_signed(registry, "policy/by-daemon-bad", ONE, [OTHER])
    with pytest.raises(Untrusted):
        client.pull(bad, unpack=False, policy=POLICY, via="daemon")
    with pytest.raises(NotFound):
        client.get_image(bad)


@pytest.mark.daemon
def test_the_daemon_does_not_import_under_a_policy(client: Client, tmp_path: Path) -> None:
    path = images.write_layout(ONE, tmp_path / "layout", "localhost/one:1")
    with pytest.raises(InvalidArgument, match="polic"):
        client.import_images(path, policy=POLICY, via="daemon")


def test_a_platform_does_not_cover_its_index(registry: Registry, tmp_path: Path) -> None:
    ref = images.push(BOTH, registry.host, "policy/index", "1")
    for entry in BOTH.json()["manifests"]:
        part = images.Image(entry, BOTH.blobs)
        images.push(
            signatures.signed(part, KEY), registry.host, "policy/index", signatures.tag(part.digest)
        )
    with pytest.raises(Unsigned):
        Layout(tmp_path / "a").pull(ref, policy=POLICY)
    amd = BOTH.json()["manifests"][0]["digest"]
    Layout(tmp_path / "b").pull(f"{ref}@{amd}", policy=POLICY)


def test_each_platform_can_be_wanted(registry: Registry, tmp_path: Path) -> None:
    ref = push_signed(registry, "policy/each", BOTH, [KEY])
    policy = Policy({"**": Rule(keys=[KEY.public], signed="both")})
    amd, arm = BOTH.json()["manifests"]
    with pytest.raises(Unsigned, match=amd["digest"]):
        Layout(tmp_path / "a").pull(ref, policy=policy, platform="linux/amd64")
    part = images.Image(amd, BOTH.blobs)
    tag = signatures.tag(part.digest)
    images.push(signatures.signed(part, KEY), registry.host, "policy/each", tag)
    image = Layout(tmp_path / "b").pull(ref, policy=policy, platform="linux/amd64")
    assert image.verdict is not None
    assert [each.digest for each in image.verdict.signatures] == [BOTH.digest, amd["digest"]]
    with pytest.raises(Unsigned, match=arm["digest"]):
        Layout(tmp_path / "c").pull(ref, policy=policy, all_platforms=True)
    only = Policy({"**": Rule(keys=[KEY.public], signed="platforms")})
    unsigned = images.push(BOTH, registry.host, "policy/only", "1")
    images.push(signatures.signed(part, KEY), registry.host, "policy/only", tag)
    Layout(tmp_path / "d").pull(unsigned, policy=only, platform="linux/amd64")


def test_a_registry_that_fails_is_not_unsigned(registry: Registry, tmp_path: Path) -> None:
    ref = push_signed(registry, "policy/fails", ONE, [KEY])

    class Failing(RegistryResolver):
        def resolve(self, ref: str) -> tuple[str, Descriptor]:
            if ".sig" in ref:
                raise RegistryUnavailable("away")
            return super().resolve(ref)

    with Failing() as resolver, pytest.raises(SignaturesUnavailable):
        Layout(tmp_path / "a").pull(ref, policy=POLICY, resolver=resolver)


def test_verify_without_a_pull(registry: Registry, tmp_path: Path) -> None:
    ref = push_signed(registry, "policy/verify", ONE, [KEY])
    layout = Layout(tmp_path / "store")
    assert layout.verify_signatures(ref, POLICY).digest == ONE.digest
    assert not layout.list_images()
    with pytest.raises(InvalidArgument, match="no policy"):
        layout.verify_signatures(ref)
    image = layout.pull(ref)
    with pytest.raises(Unsigned):
        layout.verify_signatures(image, POLICY)
    layout.pull(f"{registry.host}/policy/verify:{signatures.tag(ONE.digest)}")
    assert layout.verify_signatures(image, POLICY).signatures
    assert Layout(tmp_path / "store", policy=POLICY).verify_signatures(image).signatures


def test_an_archive_names_nothing_but_what_is_signed(registry: Registry, tmp_path: Path) -> None:
    """A name of cosign's form can also hold an image that would run: it needs a signature."""
    fake = f"{registry.host}/policy/fake:{signatures.tag('sha256:' + '0' * 64)}"
    source = images.write_layout(ONE, tmp_path / "fake", fake)
    with pytest.raises(Unsigned):
        Layout(tmp_path / "store").import_images(source, policy=POLICY)


def test_an_archive_keeps_its_signatures(registry: Registry, tmp_path: Path) -> None:
    ref = push_signed(registry, "policy/archived", ONE, [KEY])
    source, target = Layout(tmp_path / "source"), Layout(tmp_path / "target")
    signed = f"{registry.host}/policy/archived:{signatures.tag(ONE.digest)}"
    found = [source.pull(ref), source.pull(signed)]
    archive = io.BytesIO()
    source.export_images(archive, *found)
    archive.seek(0)
    images_: list[Image] = target.import_images(archive, policy=POLICY)
    verdicts = {image.name: image.verdict for image in images_}
    assert verdicts[signed] is None
    assert verdicts[ref] is not None
    assert target.verify_signatures(target.get_image(ref), POLICY).signatures


def test_a_registry_client_verifies(registry: Registry) -> None:
    ref = push_signed(registry, "policy/client", BOTH, [KEY])
    reference = Reference.parse(ref)
    with RegistryClient(registry.host) as found:
        assert found.verify_signatures(reference, POLICY).digest == BOTH.digest
        with pytest.raises(Untrusted):
            found.verify_signatures(reference, Policy({"**": Rule(keys=[OTHER.public])}))
        both = Policy({"**": Rule(keys=[KEY.public], signed="both")})
        with pytest.raises(Unsigned):
            found.verify_signatures(reference, both)
