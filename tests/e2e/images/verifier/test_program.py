"""``containerd-lite-verify`` accepts what the policy accepts, and says why it refuses all else."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from random import randrange

import pytest

from tests.e2e.images.verifier.programs import (
    DESCRIPTOR_TYPE,
    Program,
    descriptor,
    push_signed,
    write_policy,
)
from tests.harness import Unavailable, images, signatures
from tests.harness.cosign import Cosign
from tests.harness.keypairs import KeyPair
from tests.harness.process import wait_until
from tests.harness.registry import Registry

pytestmark = pytest.mark.registry

KEY, OTHER = KeyPair.generate(), KeyPair.generate()
ONE, TWO = images.scratch({"one": b"1"}), images.scratch({"two": b"2"})
BOTH = images.index_of(
    {name: images.scratch({"at": name.encode()}) for name in ("linux/amd64", "linux/arm64")}
)
#: The daemon ends the program after so many seconds.
DAEMON_WAITS = 10.0


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write_policy(tmp_path / "policy.toml", KEY)


@pytest.fixture
def program(policy: Path) -> Program:
    return Program(policy)


@pytest.fixture
def ref(registry: Registry) -> str:
    return push_signed(registry, "verifier/good", ONE, KEY)


def test_a_signed_image_is_accepted(registry: Registry, program: Program, ref: str) -> None:
    judged = program.judge(ONE, ref)
    assert judged.reason == f"the rule for ** is met: signed by {KEY.public.fingerprint}"
    assert judged.code == 0
    by_digest = ref.rpartition(":")[0] + f"@{ONE.digest}"
    assert program.judge(ONE, by_digest).code == 0


def test_the_program_loads_what_it_needs(policy: Path, ref: str) -> None:
    program = Program(policy, flags=("-X", "importtime"))
    arguments = ("-name", ref, "-digest", ONE.digest)
    judged = program.run(*arguments, stdin=descriptor(ONE))
    assert judged.code == 0
    loaded = {line.rpartition("|")[2].strip() for line in judged.errors.splitlines()}
    assert "cryptography.hazmat.primitives.asymmetric.ec" in loaded
    assert not loaded & {"argparse", "asyncio", "subprocess", "h2", "google", "rich", "nacl"}
    assert not [name for name in loaded if name.startswith(("cryptography.x509", "rfc3161"))]
    rooms = {name.split(".")[1] for name in loaded if name.startswith("containerd_lite.")}
    assert not rooms & {"client", "layout", "runtime", "schema", "services", "transport", "wire"}


def test_other_images_are_refused(registry: Registry, program: Program) -> None:
    unsigned = push_signed(registry, "verifier/unsigned", ONE)
    assert "has no signature" in program.judge(ONE, unsigned).refusal
    wrong = push_signed(registry, "verifier/wrong", ONE, OTHER)
    assert "lacks 1 of the required signatures" in program.judge(ONE, wrong).refusal
    # The key has signed another image.
    moved = push_signed(registry, "verifier/moved", TWO)
    signed = signatures.signed(ONE, KEY)
    images.push(signed, registry.host, "verifier/moved", signatures.tag(TWO.digest))
    assert "signs sha256:" in program.judge(TWO, moved).refusal
    missing = f"{registry.host}/verifier/missing:1"
    assert "has no signature" in program.judge(ONE, missing).refusal


@pytest.mark.parametrize("generation", ["2", "3"])
def test_signatures_of_cosign(registry: Registry, tmp_path: Path, generation: str) -> None:
    """The tag form, and bundles."""
    ref = images.push(ONE, registry.host, f"verifier/cosign{generation}", "1")
    try:
        key = Cosign(generation).generate_key(tmp_path)
        Cosign(generation).sign(f"{ref.rpartition(':')[0]}@{ONE.digest}", key)
    except Unavailable as reason:
        pytest.skip(str(reason))
    policy = tmp_path / "policy.toml"
    lines = ["version = 1", "[[rule]]", 'pattern = "127.0.0.1:*/**"', f'keys = ["{key.public}"]']
    policy.write_text("\n".join(lines))
    judged = Program(policy).judge(ONE, ref)
    assert judged.code == 0, judged.reason


def test_all_platforms_must_be_signed_if_the_policy_wants_platforms(
    registry: Registry, tmp_path: Path
) -> None:
    policy = write_policy(tmp_path / "policy.toml", KEY, signed='"platforms"')
    ref = images.push(BOTH, registry.host, "verifier/platforms", "1")
    for entry in BOTH.json()["manifests"]:
        assert "has no signature" in Program(policy).judge(BOTH, ref).refusal
        part = images.Image(entry, BOTH.blobs)
        tag = signatures.tag(part.digest)
        images.push(signatures.signed(part, KEY), registry.host, "verifier/platforms", tag)
    assert Program(policy).judge(BOTH, ref).code == 0


POLICIES: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "does not exist"),
    "empty": (b"", "has no 'version'"),
    "binary": (b"\xff\xfe", "is not valid TOML"),
    "broken": (b"version = ", "is not valid TOML"),
    "unknown": (b'version = 1\n[[rule]]\npattern = "**"\naccpet = true', "unknown key"),
    "keyless": (
        b'version = 1\n[[rule]]\npattern = "**"\nkeys = ["no.pub"]',
        "no.pub does not exist",
    ),
}


@pytest.mark.parametrize("kind", POLICIES)
def test_without_a_policy_that_can_be_read_nothing_is_accepted(
    tmp_path: Path, ref: str, kind: str
) -> None:
    body, reason = POLICIES[kind]
    path = tmp_path / "p.toml"
    if body is not None:
        path.write_bytes(body)
    assert reason in Program(path).judge(ONE, ref).refusal


def test_the_policy_is_no_regular_file(tmp_path: Path, ref: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        assert "cannot be read" in Program(path).judge(ONE, ref).refusal


def etc(folder: Path, **files: str) -> Path:
    """Return a folder for ``Program.etc``."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_default_policy(tmp_path: Path, ref: str) -> None:
    folder = tmp_path / "etc"
    (folder / "containerd-lite").mkdir(parents=True)
    program = Program(etc=folder)
    refusal = program.judge(ONE, ref).refusal
    assert "/etc/containerd-lite/policy.toml does not exist" in refusal
    write_policy(folder / "containerd-lite" / "policy.toml", KEY)
    assert program.judge(ONE, ref).code == 0
    empty = Program(etc=folder, variables={"CONTAINERD_LITE_POLICY": ""})
    assert empty.judge(ONE, ref).code == 0


def test_a_policy_of_skopeo(registry: Registry, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    key = base64.b64encode(KEY.public.to_pem().encode()).decode()
    requirement = {
        "type": "sigstoreSigned",
        "keyData": key,
        "signedIdentity": {"type": "matchRepository"},
    }
    files = {
        "containers/policy.json": json.dumps({"default": [requirement]}),
        "containers/registries.d/a.yaml": "default-docker: {use-sigstore-attachments: true}",
    }
    program = Program(Path("/etc/containers/policy.json"), etc(tmp_path / "etc", **files))
    good = images.push(ONE, registry.host, "verifier/skopeo", "1")
    assert "has no signature" in program.judge(ONE, good).refusal
    signed = signatures.signed(ONE, KEY, reference=good)
    images.push(signed, registry.host, "verifier/skopeo", signatures.tag(ONE.digest))
    assert program.judge(ONE, good).code == 0


def test_a_registry_that_does_not_answer_is_not_unsigned(
    registry: Registry, policy: Path, tmp_path: Path, ref: str
) -> None:
    """The program reads containerd's ``hosts.toml``: here, it leads to a closed port."""
    name = f"containerd/certs.d/{registry.host}/hosts.toml"
    folder = etc(tmp_path / "etc", **{name: 'server = "http://127.0.0.1:1"'})
    refusal = Program(policy, folder).judge(ONE, ref).refusal
    assert "cannot be read" in refusal
    assert "no signature" not in refusal


def test_the_program_has_credentials_of_its_own(policy: Path, tmp_path: Path) -> None:
    config = tmp_path / "auth.json"
    with Registry(("user", "secret-of-the-test")) as private:
        entry = {"username": "user", "password": "wrong-guess"}
        config.write_text(json.dumps({"auths": {private.host: entry}}))
        variables = {"REGISTRY_AUTH_FILE": str(config)}
        refusal = Program(policy, None, variables).judge(ONE, f"{private.host}/app:1").refusal
        assert "wrong-guess" not in refusal
        assert base64.b64encode(b"user:wrong-guess").decode() not in refusal
        assert "cannot be read" in refusal
        entry["password"] = "secret-of-the-test"
        config.write_text(json.dumps({"auths": {private.host: entry}}))
        refusal = Program(policy, None, variables).judge(ONE, f"{private.host}/app:1").refusal
        assert "has no signature" in refusal


def test_forms_of_arguments(program: Program, ref: str) -> None:
    pairs = {"name": ref, "digest": ONE.digest, "stdin-media-type": DESCRIPTOR_TYPE}
    stdin = descriptor(ONE)
    for argv in (
        [word for name, value in pairs.items() for word in (f"-{name}", value)],
        [f"-{name}={value}" for name, value in pairs.items()],
        [f"--{name}={value}" for name, value in reversed(pairs.items())],
        ["-name", ref, "-digest", ONE.digest],
    ):
        assert program.run(*argv, stdin=stdin).code == 0
    for argv in (
        [],
        ["-name", ref],
        ["-digest", ONE.digest],
        ["-name", "", "-digest", ONE.digest],
        ["-name", ref, "-digest"],
        ["-name", ref, "-digest", ONE.digest, "-platform", "linux/arm64"],
        ["name", ref, "digest", ONE.digest],
        ["--help"],
        ["-name", "a b", "-digest", ONE.digest],
        ["-name", "\udcff", "-digest", ONE.digest],
        ["-name", ref, "-digest", TWO.digest],
        ["-name", ref, "-digest", ONE.digest, "-stdin-media-type", "application/json"],
    ):
        assert program.run(*argv, stdin=stdin).refusal


@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"digest": "x"}',
        b'{"mediaType": 1}',
        b"{" * 100_000,
        b"\xc3",
        descriptor(TWO),
        descriptor(ONE).replace(b'"size": ', b'"size": -'),
        descriptor(ONE) + b" " * (1 << 20),
    ],
    ids=range(11),
)
def test_stdin_is_not_the_descriptor(program: Program, ref: str, stdin: bytes) -> None:
    arguments = ("-name", ref, "-digest", ONE.digest)
    with program.start(*arguments, stdin=subprocess.PIPE) as process:
        output, _ = process.communicate(stdin, 30)
    assert process.returncode == 1
    (line,) = output.splitlines()
    assert b"stdin" in line


def test_stdin_has_no_end(program: Program, ref: str) -> None:
    with Path("/dev/zero").open("rb") as zeros:
        arguments = ("-name", ref, "-digest", ONE.digest)
        with program.start(*arguments, stdin=zeros) as process:
            output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"stdin" in output


def test_nobody_reads_the_reason(program: Program, ref: str) -> None:
    """Then the exit code counts."""
    arguments = ("-name", ref, "-digest", ONE.digest)
    with program.start(*arguments, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        process.communicate(descriptor(ONE), 30)
    assert process.returncode == 0


@contextmanager
def serving(answer: bytes) -> Iterator[str]:
    """A server that sends one byte after the other, slowly, and then nothing more."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve(client: socket.socket) -> None:
        with client:
            for byte in answer:
                if over.wait(0.2):
                    return
                try:
                    client.send(bytes([byte]))
                except OSError:
                    return
            over.wait(60)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(client,)))
            threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(10)


@contextmanager
def deaf() -> Iterator[str]:
    """A port on which no connection is ever made: its queue is full."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.turns(3, "heavy")
@pytest.mark.slow
def test_the_deadline(policy: Path, tmp_path: Path) -> None:
    """Whatever hangs, the program says so before the daemon ends it, and leaves no process."""
    helper = tmp_path / "bin" / "docker-credential-slow"
    helper.parent.mkdir()
    helper.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text('{"credsStore": "slow"}')
    with ExitStack() as stack:
        address = "127." + ".".join(str(randrange(1, 255)) for _ in range(3))
        names = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        names.bind((address, 53))
        slow = stack.enter_context(serving(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000))
        silent = stack.enter_context(serving(b""))
        unheard = stack.enter_context(deaf())
        with_helper = {
            "DOCKER_CONFIG": str(tmp_path),
            "PATH": f"{helper.parent}:/usr/bin:/bin",
        }
        resolv = etc(tmp_path / "resolv", **{"resolv.conf": f"nameserver {address}\n"})
        hosts = f'server = "https://{silent}"\n'
        tls = etc(tmp_path / "tls", **{f"containerd/certs.d/{silent}/hosts.toml": hosts})
        # A registry that wants a password, so that the helper is asked.
        private = stack.enter_context(Registry(("user", "password")))
        plain = Program(policy, flags=())
        cases = {
            "trickle": (plain, slow),
            "silent": (plain, silent),
            "connect": (plain, unheard),
            "names": (replace(plain, etc=resolv), "registry.test"),
            "TLS": (replace(plain, etc=tls), silent),
            "helper": (replace(plain, variables=with_helper), private.host),
            "stdin": (plain, private.host),
        }
        began = time.monotonic()
        processes = {}
        for name, (program, host) in cases.items():
            arguments = ("-name", f"{host}/app:1", "-digest", ONE.digest)
            process = program.start(*arguments, stdin=subprocess.PIPE)
            processes[name] = stack.enter_context(process)
            if name != "stdin":
                assert process.stdin is not None
                process.stdin.write(descriptor(ONE))
                process.stdin.close()
        for name, process in processes.items():
            code = process.wait(max(0.1, began + DAEMON_WAITS - time.monotonic()))
            assert process.stdout is not None
            assert process.stderr is not None
            said = process.stdout.read()
            assert (name, code, said) == (name, 1, b"no verdict within 8 seconds\n")
            assert process.stderr.read() == b""
    pid = int((tmp_path / "pid").read_text())
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5)
