"""containerd's image verifier plugin runs ``containerd-lite-verify`` before the daemon pulls."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containerd_lite import Client
from tests.e2e import cri
from tests.e2e.images.verifier.programs import Program, push_signed, write_policy
from tests.e2e.images.verifier.pulls import pull_by_client, pull_by_cri, pull_by_ctr
from tests.harness import Unavailable, images
from tests.harness.cosign import Cosign
from tests.harness.daemon import Daemon
from tests.harness.keypairs import KeyPair
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.generations]

KEY, OTHER = KeyPair.generate(), KeyPair.generate()
ONE = images.scratch({"one": b"1"})

_PLUGIN = """
[plugins."io.containerd.image-verifier.v1.bindir"]
bin_dir = {}
"""


class Verified:
    """A daemon that runs the program before each pull."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder

    def use(self, policy: Path, etc: Path | None = None) -> None:
        """Judge by this policy from now on; ``etc`` is as in ``Program``."""
        Program(policy, etc).install(self.folder)

    def names(self) -> list[str]:
        """Return the names of all images."""
        found = []
        for namespace in (self.daemon.namespace, "k8s.io"):
            with Client(self.daemon.address, namespace=namespace) as client:
                found += [image.name for image in client.list_images()]
        return found


@pytest.fixture
def verified(daemon: Daemon, tmp_path: Path, registry: Registry) -> Iterator[Verified]:
    if daemon.version_info < (2, 1):
        pytest.skip("the CRI pulls past the plugin before 2.1")
    folder = tmp_path / "verifiers"
    folder.mkdir()
    extra = cri.config(daemon, "unused") + _PLUGIN.format(json.dumps(str(folder)))
    with Daemon(daemon.generation, cri=True, extra=extra) as own:
        yield Verified(own, folder)


@pytest.mark.parametrize("pull", [pull_by_ctr, pull_by_client, pull_by_cri])
def test_the_daemon_asks_before_a_pull(
    verified: Verified,
    registry: Registry,
    tmp_path: Path,
    pull: Callable[[Daemon, str], str],
) -> None:
    policy = write_policy(tmp_path / "policy.toml", KEY)
    here = f"plugin/{pull.__name__}/{verified.daemon.version}"
    unsigned = push_signed(registry, f"{here}/unsigned", ONE)
    wrong = push_signed(registry, f"{here}/wrong", ONE, OTHER)
    good = push_signed(registry, f"{here}/good", ONE, OTHER, KEY)
    broken = tmp_path / "broken.toml"
    broken.write_text("version =")
    certs = tmp_path / "etc" / "containerd" / "certs.d" / registry.host
    certs.mkdir(parents=True)
    (certs / "hosts.toml").write_text('server = "http://127.0.0.1:1"')
    verified.use(policy)
    assert "has no signature" in pull(verified.daemon, unsigned)
    assert "lacks 1 of the required signatures" in pull(verified.daemon, wrong)
    verified.use(tmp_path / "none.toml")
    assert "none.toml does not exist" in pull(verified.daemon, good)
    verified.use(broken)
    assert "is not valid TOML" in pull(verified.daemon, good)
    verified.use(policy, tmp_path / "etc")
    assert "cannot be read" in pull(verified.daemon, good)
    assert verified.names() == []
    verified.use(policy)
    assert pull(verified.daemon, good) == ""
    by_digest = f"{good.rpartition(':')[0]}@{ONE.digest}"
    assert pull(verified.daemon, by_digest) == ""
    assert {good, by_digest} <= set(verified.names())


def test_bundles(verified: Verified, registry: Registry, tmp_path: Path) -> None:
    ref = images.push(ONE, registry.host, f"plugin/bundle-{verified.daemon.version}", "1")
    try:
        key = Cosign("3").generate_key(tmp_path)
        Cosign("3").sign(f"{ref.rpartition(':')[0]}@{ONE.digest}", key)
    except Unavailable as reason:
        pytest.skip(str(reason))
    policy = tmp_path / "policy.toml"
    policy.write_text(f'version = 1\n[[rule]]\npattern = "**"\nkeys = ["{key.public}"]')
    verified.use(policy)
    assert pull_by_ctr(verified.daemon, ref) == ""


def test_what_the_daemon_logs_is_one_line(
    verified: Verified, registry: Registry, tmp_path: Path
) -> None:
    verified.use(tmp_path / "none.toml")
    ref = push_signed(registry, "plugin/log", ONE)
    pull_by_ctr(verified.daemon, ref)
    (line,) = [line for line in verified.daemon.log.read_text().splitlines() if "blocked" in line]
    assert "exit code 1" in line
    assert "none.toml does not exist" in line


def test_past_the_plugin(verified: Verified, registry: Registry, tmp_path: Path) -> None:
    """The plugin judges only what the daemon pulls itself, as docs/trust.md says."""
    verified.use(write_policy(tmp_path / "policy.toml", KEY))
    daemon = verified.daemon
    by_client = push_signed(registry, "plugin/past-by-client", ONE)
    by_ctr = push_signed(registry, "plugin/past-by-ctr", ONE)
    with Client(daemon.address, namespace=daemon.namespace) as client:
        client.pull(by_client, unpack=False)
    daemon.ctr("images", "pull", "--local", "--plain-http", by_ctr)
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(images.write_layout(ONE, tmp_path / "layout", "localhost/imported:1"), ".")
    daemon.ctr("images", "import", "--all-platforms", str(archive))
    assert {by_client, by_ctr, "localhost/imported:1"} <= set(verified.names())
