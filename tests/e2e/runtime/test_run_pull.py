"""``run(pull=…)`` and ``popen(pull=…)``: when the image of a new container is pulled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client
from containerd_lite.errors import InvalidArgument, NotFound, Unsigned, Untrusted
from containerd_lite.images.image import Image
from containerd_lite.images.pull.needed import WhenToPull
from containerd_lite.runtime.io import DEVNULL
from containerd_lite.trust import Policy, Rule
from tests.harness import images, signatures
from tests.harness.daemon import Daemon
from tests.harness.keypairs import KeyPair
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]

KEY, OTHER = KeyPair.generate(), KeyPair.generate()
POLICY = Policy({"**": Rule(keys=[KEY.public])})
_NUMBERS = count()
WHEN: list[WhenToPull] = ["missing", "always"]
#: Pushes an image whose file ``/version`` has this text under the test's tag; returns its name.
Publish = Callable[[str], str]


@pytest.fixture
def publish(registry: Registry, busybox: str) -> Publish:
    """``busybox`` says by name that the machine has what the images need."""
    repository = f"run-pull/{next(_NUMBERS)}"

    def publish(version: str) -> str:
        return images.push(_image(version), registry.host, repository, "1")

    return publish


def _image(version: str) -> images.Image:
    return images.build(
        [images.busybox_layer(), images.layer({"version": version.encode()})],
        cmd=["cat", "/version"],
        env=["PATH=/bin"],
    )


def _sign(ref: str, version: str, key: KeyPair) -> None:
    host, _, rest = ref.partition("/")
    image = _image(version)
    signed = signatures.signed(image, key)
    images.push(signed, host, rest.rpartition(":")[0], signatures.tag(image.digest))


@pytest.mark.generations
def test_when_the_image_is_pulled(client: Client, publish: Publish) -> None:
    ref = publish("1")
    with pytest.raises(NotFound):
        client.run(ref)
    with pytest.raises(NotFound):
        client.run(ref, pull="never")
    assert client.list_images() == []
    assert client.run(ref, pull="missing").stdout == b"1"
    publish("2")
    assert client.run(ref, pull="missing").stdout == b"1"
    assert client.run(ref).stdout == b"1"
    assert client.run(ref, pull="always").stdout == b"2"
    assert client.run(ref).stdout == b"2"


def test_all_that_start_a_container_can_pull(client: Client, publish: Publish) -> None:
    ref = publish("1")
    container = client.run(ref, ["sleep", "1000"], pull="missing", detach=True)
    try:
        assert container.task().status().state == "running"
    finally:
        container.task().delete(force=True)
        container.delete()
    publish("2")
    with client.popen(ref, pull="always", stderr=DEVNULL) as running:
        assert running.stdout is not None
        assert running.stdout.read() == b"2"


def test_nothing_is_created_without_an_image(
    client: Client, registry: Registry, publish: Publish
) -> None:
    for pull in WHEN:
        with pytest.raises(NotFound, match="manifest"):
            client.run(f"{registry.host}/run-pull/none:1", pull=pull)
    assert client.list_images() == []
    assert client.containers() == []


@pytest.mark.parametrize("by_client", [False, True])
def test_a_policy(client: Client, daemon: Daemon, publish: Publish, by_client: bool) -> None:
    """Nothing of an image that the policy refuses runs, and its name stays as it was."""
    ref = publish("1")
    own = Client(daemon.address, namespace=client.namespace, policy=POLICY) if by_client else client
    policy = None if by_client else POLICY

    def run(pull: WhenToPull) -> bytes:
        return own.run(ref, pull=pull, policy=policy).stdout

    with pytest.raises(Unsigned):
        run("missing")
    _sign(ref, "1", OTHER)
    with pytest.raises(Untrusted):
        run("always")
    assert client.list_images() == []
    _sign(ref, "1", KEY)
    assert run("missing") == b"1"
    publish("2")
    with pytest.raises(Unsigned):
        run("always")
    assert run("missing") == b"1"
    assert client.containers() == []
    if by_client:
        own.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pull": "sometimes"}, "sometimes"),
        ({"pull": True}, "True"),
        ({"policy": POLICY}, "policy= needs pull="),
        ({"policy": POLICY, "pull": "never"}, "policy= needs pull="),
        ({"policy": "/nosuch", "pull": "always"}, "/nosuch"),
    ],
)
def test_wrong_arguments(
    client: Client, publish: Publish, options: dict[str, Any], message: str
) -> None:
    ref = publish("1")
    for start in (client.run, client.popen):
        with pytest.raises((InvalidArgument, NotFound), match=message):
            start(ref, **options)
    assert client.list_images() == []


def test_an_image_object_is_there_already(client: Client, image: Image) -> None:
    assert client.run(image, ["true"], pull="never").exit_code == 0
    for pull in WHEN:
        with pytest.raises(InvalidArgument, match="needs the name"):
            client.run(image, ["true"], pull=pull)


# ---- the command line ---------------------------------------------------------------------------


@pytest.fixture
def cli(daemon: Daemon, namespace: str) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    place = ["-a", daemon.address, "-n", namespace]
    argv = [sys.executable, "-W", "error", "-m", "containerd_lite", *place, "run"]
    return lambda *args: subprocess.run([*argv, *args], capture_output=True, timeout=60)


def test_the_command_line_pulls_what_is_missing(
    cli: Callable[..., subprocess.CompletedProcess[bytes]], publish: Publish, tmp_path: Path
) -> None:
    ref = publish("1")
    refused = cli("--pull", "never", ref)
    assert (refused.returncode, refused.stdout) == (125, b"")
    assert b"not found" in refused.stderr
    first = cli(ref)
    assert (first.returncode, first.stdout) == (0, b"1"), first.stderr
    assert b"sha256" in first.stderr  # the progress of the pull
    publish("2")
    again = cli(ref)
    assert (again.returncode, again.stdout, again.stderr) == (0, b"1", b"")
    newer = cli("--pull", "always", "-q", ref)
    assert (newer.returncode, newer.stdout, newer.stderr) == (0, b"2", b"")
    policy = tmp_path / "policy.toml"
    (tmp_path / "key.pub").write_text(KEY.public.to_pem())
    policy.write_text('version = 1\n[[rule]]\npattern = "**"\nkeys = ["key.pub"]\n')
    checked = ("--policy", os.fspath(policy))
    unsigned = cli("--pull", "always", *checked, ref)
    assert (unsigned.returncode, unsigned.stdout) == (125, b"")  # 7 would be the process's code
    assert b"has no signature" in unsigned.stderr
    _sign(ref, "2", KEY)
    assert cli("--pull", "always", *checked, ref).stdout == b"2"
    usage = cli("--pull", "never", *checked, ref)
    assert (usage.returncode, usage.stdout) == (125, b"")
    assert b"--policy requires a pull" in usage.stderr
