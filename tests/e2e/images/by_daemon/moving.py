"""Images that the daemon moves: what they are, and what ``ctr`` says of them."""

from __future__ import annotations

from containerd_lite import Client
from containerd_lite.images.platforms import Platforms
from containerd_lite.progress import ProgressEvent
from containerd_lite.registry.credentials import Credentials, CredentialSource
from tests.harness import images
from tests.harness.daemon import Daemon

IMAGE = images.random_image([2_000_000, 100_000, 5], seed=7)
LARGE = images.random_image([6_000_000], seed=8)
PARTS = {
    name: images.scratch({"name": name.encode()}, platform=name)
    for name in (images.machine_platform(), "linux/s390x")
}
INDEX = images.index_of(PARTS)
USER = ("user", "the-secret-word")
ME, OTHER = Credentials(*USER), Credentials("user", "another-secret")
ALL = Platforms(None)


def always(who: Credentials | None) -> CredentialSource:
    return lambda host: who


def nobody(host: str) -> Credentials | None:
    return None


def ctr_lines(mover: Daemon, client: Client, *command: str) -> list[list[str]]:
    said = mover.ctr(*command, namespace=client.namespace).stdout.decode()
    return [line.split() for line in said.splitlines()[1:] if line.strip()]


def names_of(mover: Daemon, client: Client) -> dict[str, str]:
    """Digests by name, as ``ctr`` lists them."""
    return {line[0]: line[2] for line in ctr_lines(mover, client, "images", "ls")}


def blobs_of(mover: Daemon, client: Client) -> set[str]:
    return {line[0] for line in ctr_lines(mover, client, "content", "ls")}


def check_there(mover: Daemon, client: Client, name: str, image: images.Image) -> None:
    assert names_of(mover, client)[name] == image.digest
    for digest, blob in image.blobs.items():
        assert mover.ctr("content", "get", digest, namespace=client.namespace).stdout == blob


def ends(events: list[ProgressEvent], image: images.Image) -> set[str]:
    """Each blob's last stage."""
    stages = {}
    for event in events:
        stages[event.name.rpartition("-")[2]] = event
    assert all(stages[digest].offset == len(blob) for digest, blob in image.blobs.items())
    return {stages[digest].stage for digest in image.blobs}
