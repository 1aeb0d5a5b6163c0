"""``containerd-lite verify``, ``sign`` and ``attest``: arguments, output and missing packages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.cli import main
from tests.harness import images
from tests.harness.images import Image
from tests.unit.registry.scripted import Scripted, reply

pytest.importorskip("cryptography", reason="keys need it")

from tests.harness import signatures
from tests.harness.keypairs import KeyPair

KEY, OTHER = KeyPair.generate(), KeyPair.generate()
IMAGE = images.scratch({"one": b"1"})
#: A registry to which nothing is sent, because the arguments are wrong.
NOWHERE = "127.0.0.1:1/app"


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key.pub").write_text(KEY.public.to_pem())
    Path("other.jwk").write_text(OTHER.jwk())
    Path("key.pem").write_bytes(KEY.private_pem)
    Path("predicate.json").write_text("{}")
    Path("policy.toml").write_text(
        'version = 1\n[[rule]]\npattern = "**"\nkeys = ["key.pub"]\nname = "repository"\n'
        '[[rule]]\npattern = "docker.io/**"\naccept = true\n'
    )


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as server:
        yield server


def push(server: Scripted, image: Image, name: str) -> None:
    """Serve an image without a referrers API."""
    for digest, body in image.blobs.items():
        is_manifest = digest == image.digest
        kind = image.manifest["mediaType"] if is_manifest else "application/octet-stream"
        found = reply(200, body, Content_Type=kind, Docker_Content_Digest=digest)
        for path in (
            (f"manifests/{digest}", f"manifests/{name}") if is_manifest else (f"blobs/{digest}",)
        ):
            for method in ("GET", "HEAD"):
                server.on(method, f"/v2/app/{path}", found)


def signed(server: Scripted, *keys: KeyPair, **optional: str) -> str:
    """Serve an image that the keys have signed."""
    reference = f"{server.host}/app"
    push(server, IMAGE, "1")
    if keys:
        found = signatures.signed(IMAGE, *keys, reference=reference, **optional)
        push(server, found, signatures.tag(IMAGE.digest))
    return f"{reference}:1"


# ---- verify -----------------------------------------------------------------------------------


def test_one_object_has_all_of_the_verdict(
    server: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = signed(server, OTHER, KEY, stage="release")
    assert main(["verify", ref, "--policy", "policy.toml", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found.pop("time").startswith("20")
    (signature,) = found.pop("signatures")
    assert found == {"digest": IMAGE.digest, "rule": "**", "attestations": []}
    assert signature == {
        "where": f"tag {signatures.tag(IMAGE.digest)}, layer 2",
        "digest": IMAGE.digest,
        "key": KEY.public.fingerprint,
        "identity": None,
        "times": [],
        "log_indexes": [],
        "reference": f"{server.host}/app",
        "annotations": {"stage": "release"},
    }
    assert err == ""
    assert main(["verify", ref, "--key", "key.pub", "--format", "jsonl"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["signatures"] == [signature]
    assert out.count("\n") == 1


def test_a_table_says_who_signed(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    ref = signed(server, OTHER)
    assert main(["verify", ref, "--key", "key.pub", "--key", "other.jwk"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["KIND", "SIGNER", "ISSUER", "TIME", "WHERE"]
    assert out.splitlines()[1].split()[:2] == ["signature", OTHER.public.fingerprint]
    assert err == f"{IMAGE.digest} meets the rule for ** (signatures: 1, attestations: 0)\n"


def test_refusals_are_not_failures(server: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    ref = signed(server)
    assert main(["verify", ref, "--key", "key.pub"]) == 7
    assert "has no signature" in capsys.readouterr().err
    signed(server, OTHER)
    assert main(["verify", ref, "--key", "key.pub", "--format", "json"]) == 7
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "not by the key" in err
    assert main(["pull", ref, "--to", "layout", "-q", "--policy", "policy.toml"]) == 7
    signed(server, KEY)
    assert main(["pull", ref, "--to", "layout", "-q", "--policy", "policy.toml"]) == 0
    capsys.readouterr()
    for method in ("GET", "HEAD"):
        path = f"/v2/app/manifests/{signatures.tag(IMAGE.digest)}"
        server.on(method, path, reply(403))
    assert main(["verify", ref, "--key", "key.pub"]) == 5
    assert main(["pull", ref, "--to", "layout", "-q", "--policy", "policy.toml"]) == 5
    assert main(["verify", f"{server.host}/app:none", "--key", "key.pub"]) == 3
    assert main(["verify", NOWHERE, "--key", "key.pub"]) == 5


ROOT = ["--trust-root", "root.json"]
IDENTITY = ["--identity", "x@y.example", "--issuer", "https://issuer.example"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Pass --policy, --key or --identity"),
        (["--policy", "policy.toml", "--key", "key.pub"], "--policy and --key exclude each other"),
        (["--policy", "policy.toml", *ROOT], "--policy and --trust-root exclude"),
        (["--policy", "policy.toml", "--manifests", "both"], "--policy and --manifests exclude"),
        (IDENTITY, "need each other"),
        ([*IDENTITY[:2], *ROOT], "need each other"),
        (["--key", "key.pub", *ROOT], "need each other"),
        (["--key", "key.pub", "--issuer", "https://issuer.example"], "need each other"),
        (["--key", "key.pub", "--identity", ""], "need each other"),
        (["--identity-regexp", "(", *IDENTITY[2:], *ROOT], "not a regular expression"),
        (["--key", "key.pub", "--platform", "linux/arm64"], "--manifests"),
        (["--key", ""], "exist"),
        (["--key", "key.pem"], "private key"),
        (["--policy", "key.pub"], "TOML"),
        (["--policy", ""], "exist"),
    ],
)
def test_options_that_would_have_no_effect(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", NOWHERE, *options]) == (3 if said == "exist" else 2)
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert "=" not in err.partition(". ")[2], "a remedy names options, not arguments of Python"


def test_a_policy_without_signers_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    Path("none.toml").write_text('version = 1\n[[rule]]\npattern = "**"\n')
    assert main(["verify", NOWHERE, "--policy", "none.toml"]) == 2
    assert "=" not in capsys.readouterr().err


# ---- sign and attest --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["sign"], 2, "Pass --key"),
        (["sign", "--key", "none.key"], 3, "none.key"),
        (["sign", "--key", "key.pub"], 2, "key.pub: this is not a private key"),
        (["sign", "--key", "key.pem", "-a", "stage"], 2, "Write NAME=VALUE"),
        (["sign", "--key", "key.pem", "-a", "=x"], 2, "Write NAME=VALUE"),
        (["sign", "--key", "key.pem"], 5, "127.0.0.1:1"),
        (["attest", "--key", "key.pem", "--type", "sbom"], 2, "spdxjson"),
        (["attest", "--key", "key.pem", "--type", "spdx", "--predicate", "none"], 3, "none"),
        (["attest", "--key", "key.pem", "--type", "spdx", "--predicate", "key.pem"], 2, "JSON"),
        (["attest", "--key", "key.pem", "--type", "spdx", "--predicate", "list"], 2, "object"),
        (["attest", "--key", "key.pem", "--type", "spdx", "--predicate", "large"], 2, "16777216"),
        (["attest", "--key", "key.pem", "--type", "spdx"], 5, "127.0.0.1:1"),
    ],
)
def test_failures(
    argv: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("list").write_text("[]")
    Path("large").write_text(json.dumps({"x": "x" * (16 << 20)}))
    if argv[0] == "attest" and "--predicate" not in argv:
        argv = [*argv, "--predicate", "predicate.json"]
    assert main([*argv, NOWHERE]) == code
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert out == ""
    assert "PRIVATE" not in err


def test_an_unencrypted_key_needs_no_password(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even if there is one: it is for the keys of others."""
    monkeypatch.setenv("COSIGN_PASSWORD", "of another key")
    assert main(["key", "public", "key.pem", "--password-file", "none"]) == 0
    assert capsys.readouterr().out == KEY.public.to_pem()


# ---- without the extra ------------------------------------------------------------------------

#: Commands, and the package that each needs first.
NEEDS: dict[str, list[str]] = {
    "cryptography": [
        f"verify {NOWHERE} --key key.pub",
        f"verify {NOWHERE} --policy policy.toml",
        f"verify {NOWHERE} --identity x --issuer y --trust-root policy.toml",
        f"sign {NOWHERE} --key key.pem",
        f"attest {NOWHERE} --key key.pem --type spdx --predicate predicate.json",
        f"pull {NOWHERE} --to layout --policy policy.toml",
        "key generate",
        "key import key.pem",
        "key public key.pem",
    ],
    "PyNaCl": [f"sign {NOWHERE} --key encrypted.key", "key generate", "key import key.pem"],
}
LACKING = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from containerd_lite.cli import main
sys.exit(main())
"""


def lacking(modules: str, command: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-W", "error", "-c", LACKING, modules, *command.split()]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, start_new_session=True)


@pytest.mark.parametrize(
    ("package", "command"), [(name, command) for name in NEEDS for command in NEEDS[name]]
)
def test_a_missing_package_is_named(
    package: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSIGN_PASSWORD", "x")
    Path("encrypted.key").write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    modules = {"cryptography": "cryptography,nacl,rfc3161_client", "PyNaCl": "nacl"}[package]
    done = lacking(modules, command)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"needs the package {package}" in done.stderr
    assert 'pip install "containerd-lite[trust]"' in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["verify", "sign", "attest", "tree", "key", "key generate"])
def test_help_needs_no_package(command: str) -> None:
    done = lacking("cryptography,nacl,rfc3161_client", f"{command} --help")
    assert (done.returncode, done.stderr) == (0, "")


def test_tree_needs_no_package(server: Scripted) -> None:
    ref = signed(server, KEY)
    done = lacking("cryptography,nacl,rfc3161_client", f"tree {ref} --format json")
    assert (done.returncode, done.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert [each["kind"] for each in found] == ["sig"]
