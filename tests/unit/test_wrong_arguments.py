"""Wrong arguments: a typed error names the argument before anything is made."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import (
    TLS,
    CancelToken,
    Client,
    Layout,
    LogFile,
    RegistryOptions,
    log_progress,
    login,
    logout,
    tqdm_progress,
)
from containerd_lite.errors import ContainerdError, InvalidArgument, NotFound
from containerd_lite.images.resolver import RegistryResolver
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from containerd_lite.runtime.io import NullIO, Streams, closing_on_failure
from containerd_lite.runtime.process import signal_number
from containerd_lite.runtime.record import check_id, options_of_task
from containerd_lite.runtime.run import Capturing
from containerd_lite.services import AnyValue

pytestmark = pytest.mark.interpreter

#: A value that Python cannot write, because it is nested too deeply.
NESTED: list[Any] = []
for _ in range(100_000):
    NESTED = [NESTED]
#: An integer that Python refuses to write.
HUGE = 10**5000
#: An image that no registry has: the port is closed, so a request would fail in another way.
REF = "127.0.0.1:1/a:1"
REFERENCE = Reference.parse(REF)
BLOB = Descriptor("application/octet-stream", f"sha256:{'0' * 64}", 1)
VERSION = "containerd.services.version.v1.Version/Version"
#: Calls of a registry with a wrong argument, and how the message begins.
REGISTRY_CALLS: list[tuple[Callable[[Any], object], str]] = [
    *(
        (lambda registry, name=name, more=more: getattr(registry, name)(5, *more), "reference")
        for name, more in (
            ("resolve", ()),
            ("fetch_manifest", (5,)),
            ("blob_size", (5,)),
            ("open_blob", (5,)),
            ("upload_blob", (5, b"")),
            ("head_manifest", ()),
            ("push_manifest", (b"{}",)),
            ("tags", ()),
            ("referrers", ()),
            ("verify_signatures", (5,)),
            ("delete", ()),
        )
    ),
    (lambda registry: registry.upload_blob(REFERENCE, 5, b""), "descriptor cannot be 5"),
    *(
        (lambda registry, name=name: getattr(registry, name)(REFERENCE, 5), "descriptor cannot")
        for name in ("fetch_manifest", "blob_size", "open_blob", "delete")
    ),
    (lambda registry: registry.resolve(None), "reference cannot be None"),
    (lambda registry: registry.resolve(REF), f"reference cannot be '{REF}'"),
    (lambda registry: registry.resolve(REFERENCE, deadline=5), "deadline cannot be 5"),
    (lambda registry: registry.catalog(deadline=5), "deadline cannot be 5"),
    (lambda registry: registry.push_manifest(REFERENCE, "{}"), "content cannot be '{}'"),
    (lambda registry: registry.upload_blob(REFERENCE, BLOB, 5), "content cannot be 5"),
]


def entered(context: AbstractContextManager[object]) -> object:
    with context as value:
        return value


def closed() -> io.BytesIO:
    file = io.BytesIO()
    file.close()
    return file


#: Calls with a wrong argument, and how the message begins. A client has no daemon: a call that
#: makes a request raises ``SocketNotFound``.
CALLS: list[tuple[Callable[[Any, Any], object], str]] = [
    (lambda client, layout: Client(5), "address cannot be 5"),  # type: ignore[arg-type]
    *(
        (lambda client, layout, wrong=wrong: Client("/x", **wrong), next(reversed(wrong)))
        for wrong in (
            {"timeout": "5"},
            {"timeout": 0},
            {"connect_timeout": "5"},
            {"namespace": 5},
            {"snapshotter": 5},
            {"platform": 5},
            {"runtime": 5},
            {"policy": 5},
            {"logs_dir": 5},
            {"logs_dir": b"/x"},
            {"registry": "x"},
            {"channel": "x"},
        )
    ),
    *(
        (
            lambda client, layout, wrong=wrong: client.run("x", ["true"], **wrong),
            next(reversed(wrong)),
        )
        for wrong in (
            {"input": "text"},
            {"input": ["x"]},
            {"input": io.StringIO("x")},
            {"input": closed()},
            {"timeout": "5"},
            {"timeout": -1},
            {"cancel": threading.Event()},
            {"stdout": "x"},
            {"stdout": closed()},
            {"stderr": io.StringIO()},
            {"stream": "x"},
            {"max_output": "x"},
            {"max_output": -1},
            {"check": "no"},
            {"detach": "no"},
            {"remove": "no"},
            {"capture": "no"},
            {"image_labels": "no"},
            {"view": "no"},
            {"mounts": 5},
            {"mounts": ["/nosuch"]},
            {"mounts": ["src=/nosuch"]},
            {"cancel": CancelToken},
            {"labels": ["a"]},
            {"labels": {"a": 1}},
            {"labels": NESTED},
            {"labels": HUGE},
            {"snapshotter": 5},
            {"runtime": 5},
            {"snapshot": 5},
            {"sandbox": 5},
            {"extensions": 5},
            {"extensions": {"a": 5}},
            {"runtime_options": 5},
            {"rootfs": 5},
            {"edit": 5},
            {"pull": "x"},
            {"streams": NullIO()},
            {"restart": "always"},
            {"ports": "8080:80"},
            {"ports": 5},
            {"network": "bridge", "ports": [8080]},
            {"network": "bridge", "dns": "192.0.2.1"},
            {"network": "bridge", "dns": ["dns.example"]},
            {"network": "bridge", "dns_search": "example"},
            {"network": "bridge", "dns_search": ["a b"]},
            {"network": "bridge", "dns_options": 5},
            {"network": "bridge", "extra_hosts": ["db:192.0.2.1"]},
            {"network": "bridge", "extra_hosts": {"db": "x"}},
            {"network": "bridge", "view": True, "dns": []},
            {"network": "host", "dns": ["192.0.2.1"]},
            {"extra_hosts": {"db": "192.0.2.1"}},
            {"dns": [], "network": 5},
            {"network": ["bridge"]},
            {"detach": True, "restart": 5},
            {"detach": True, "streams": "x"},
        )
    ),
    (lambda client, layout: client.popen("x", stdin="text"), "stdin cannot be 'text'"),
    (lambda client, layout: client.popen("x", streams="x"), "streams cannot be 'x'"),
    (lambda client, layout: client.popen("x", start="no"), "start cannot be 'no'"),
    (lambda client, layout: client.popen("x", remove="no"), "remove cannot be 'no'"),
    (lambda client, layout: client.restore("x", "x", trust="no"), "trust cannot be 'no'"),
    *(
        (lambda client, layout, verb=verb, wrong=wrong: getattr(client, verb)(wrong), "containers")
        for verb in ("wait_any", "wait_all")
        for wrong in (None, 5, "web", ["web"])
    ),
    (lambda client, layout: client.ps(5), "Containers.ListStream: filters cannot be (5,)"),
    (lambda client, layout: client.ps(True), "Containers.ListStream: filters cannot be (True,)"),
    (lambda client, layout: client.containers(5), "Containers.ListStream: filters cannot be (5,)"),
    (lambda client, layout: client.list_images(5), "Images.List: filters cannot be (5,)"),
    (lambda client, layout: client.load_container(5), "Containers.Get: id cannot be 5"),
    (
        lambda client, layout: client.snapshot_service("native").prepare(5),
        "Snapshots.Prepare: key cannot be 5",
    ),
    (
        lambda client, layout: client.image_service.create(5, BLOB),
        "Images.Create: name cannot be 5",
    ),
    *(
        (lambda client, layout, wrong=wrong: client.subscribe(**wrong), next(iter(wrong)))
        for wrong in ({"topic": 5}, {"container": 5}, {"namespace": 5}, {"type": 5})
    ),
    (lambda client, layout: client.subscribe(5), "filters cannot be (5,)"),
    *(
        (lambda client, layout, call=call, who=who: call((client, layout)[who].content_store), said)
        for who in (0, 1)
        for call, said in (
            (lambda store: store.put("x"), "data cannot be 'x'"),
            (lambda store: store.put(b"x", labels=5), "labels cannot be 5"),
            (lambda store: store.writer(5), "ref cannot be 5"),
            (lambda store: store.writer(None), "ref cannot be None"),
        )
    ),
    (lambda client, layout: client.new_container("x", labels=["a"]), "labels cannot be"),
    (lambda client, layout: client.new_sandbox("x", labels=["a"]), "labels cannot be"),
    (lambda client, layout: client.new_sandbox("x", runtime=5), "runtime cannot be 5"),
    (lambda client, layout: client.new_sandbox(5), "5 cannot be an id"),
    (lambda client, layout: client.in_namespace(5), "namespace cannot be 5"),
    (lambda client, layout: client.get_image(5), "name cannot be 5"),
    *(
        (lambda client, layout, wrong=wrong: layout.pull(REF, **wrong), next(reversed(wrong)))
        for wrong in (
            {"labels": ["a"]},
            {"labels": {"a": 1}},
            {"platform": 5},
            {"platform": [5]},
            {"resolver": "x"},
            {"progress": "x"},
            {"wrap_handler": "x"},
            {"policy": 5},
            {"snapshotter": 5},
            {"timeout": "5"},
            {"timeout": 0},
            {"cancel": 5},
            {"registry": "x"},
            {"credentials": "user:password"},
            {"plain_http": "yes"},
            {"all_platforms": "no"},
            {"unpack": "no"},
            {"resume": "no"},
            {"cancel": CancelToken},
            {"via": "x"},
            {"max_concurrent_downloads": "5"},
            {"max_concurrent_unpacks": 0},
        )
    ),
    (lambda client, layout: layout.pull(5), "ref cannot be 5"),
    (lambda client, layout: layout.fetch(None), "the reference None is not a string"),
    (lambda client, layout: layout.push(5), "ref cannot be 5"),
    (lambda client, layout: layout.push(REF, 5), "image cannot be 5"),
    (lambda client, layout: layout.push(REF, chunk_size="5"), "chunk_size cannot be '5'"),
    (lambda client, layout: layout.push(REF, progress=5), "progress cannot be 5"),
    (lambda client, layout: layout.copy(REF, 5), "target cannot be 5"),
    (lambda client, layout: layout.copy(5, REF), "source cannot be 5"),
    (lambda client, layout: layout.tag(5, "x"), "image cannot be 5"),
    (lambda client, layout: layout.check(5), "image cannot be 5"),
    (lambda client, layout: layout.check(REF, timeout="5"), "timeout cannot be '5'"),
    (lambda client, layout: layout.verify(cancel=5), "cancel cannot be 5"),
    *(
        (lambda client, layout, wrong=wrong: RegistryOptions(**wrong), next(iter(wrong)))
        for wrong in (
            {"credentials": 5},
            {"plain_http": 1},
            {"hosts_dirs": "/x"},
            {"hosts_dirs": [5]},
            {"proxy": "ftp://s3cret"},
            {"tls": 5},
            {"proxy": 5},
            {"max_rate": "5"},
            {"connections": 0},
        )
    ),
    (lambda client, layout: layout.verify(5), "image cannot be 5"),
    (lambda client, layout: layout.repair(5), "image cannot be 5"),
    *(
        (lambda client, layout, wrong=wrong: layout.import_images(wrong), "source cannot be")
        for wrong in (5, None, b"/x", "/a\0b", io.StringIO("x"), closed())
    ),
    (lambda client, layout: layout.import_images("/x", ref=5), "ref cannot be 5"),
    (lambda client, layout: layout.import_images("/x", labels=["a"]), "labels cannot be"),
    (lambda client, layout: layout.export_images("/x", 5), "image cannot be 5"),
    (lambda client, layout: layout.import_images("/x", translate_name=5), "translate_name cannot"),
    (
        lambda client, layout: layout.import_images("/x", ref="a", translate_name=str),
        "ref= and translate_name= are both given",
    ),
    *(
        (lambda client, layout, wrong=wrong: Layout(wrong), "path cannot be")
        for wrong in (5, None, b"/x", "/a\0b")
    ),
    (lambda client, layout: Layout("/x", platform=5), "platform cannot be 5"),  # type: ignore[arg-type]
    (lambda client, layout: Layout("/x", policy=5), "policy=5 is not a policy"),  # type: ignore[arg-type]
    *(
        (lambda client, layout, wrong=wrong: TlsFiles(**wrong), next(reversed(wrong)))
        for wrong in (
            {"ca": "ca.pem"},
            {"ca": Path("ca.pem")},
            {"ca": ["ca.pem"]},
            {"ca": (5,)},
            {"client": "cert.pem"},
            {"client": ("cert.pem", "key.pem")},
        )
    ),
    *(
        (lambda client, layout, wrong=wrong: TLS(**wrong), next(reversed(wrong)))
        for wrong in ({"ca": 5}, {"cert": 5}, {"cert": "c", "key": 5}, {"server_name": 5})
    ),
    *(
        (lambda client, layout, kind=kind, wrong=wrong: kind(**wrong), next(iter(wrong)))
        for wrong in (
            {"credentials": "me:s3cret"},
            {"tls": "ca.pem"},
            {"proxy": 5},
            {"proxy_ca": "ca.pem"},
            {"realm_hosts": "a.example"},
            {"hosts_dirs": "/etc"},
            {"max_rate": "5"},
            {"progress": 5},
        )
        for kind in (RegistryResolver, partial(Registry, "127.0.0.1:1"))
    ),
    (lambda client, layout: Registry(5), "host cannot be 5"),  # type: ignore[arg-type]
    (lambda client, layout: Registry("a", timeout="5"), "timeout cannot be '5'"),  # type: ignore[arg-type]
    (lambda client, layout: Credentials(5, "x"), "username cannot be of the type int"),  # type: ignore[arg-type]
    (lambda client, layout: Credentials("x", b"s3cret"), "password cannot be of the type bytes"),  # type: ignore[arg-type]
    *(
        (lambda client, layout, wrong=wrong: login(*wrong), said)
        for wrong, said in (
            ((5, "a", "b"), "registry cannot be 5"),
            (("https://a.example", "a", "b"), "registry cannot be 'https://a.example'"),
            (("a.example/app", "a", "b"), "registry cannot be 'a.example/app'"),
            (("127.0.0.1:1", 5, "b"), "username cannot be of the type int"),
            (("127.0.0.1:1", "", "b"), "username must not be empty"),
            (("127.0.0.1:1", "a:b", "b"), "a user name with a colon"),
            (("127.0.0.1:1", "a", b"s3cret"), "password cannot be of the type bytes"),
            (("127.0.0.1:1", "a", None), "password must not be empty"),
            (("127.0.0.1:1", "a", ""), "password must not be empty"),
            (("127.0.0.1:1", "a", "s3cret\0"), "password must not be empty, and"),
            (("127.0.0.1:1", "a", "s3cret\ud800"), "password must not be empty, and"),
        )
    ),
    *(
        (
            lambda client, layout, wrong=wrong: login("127.0.0.1:1", "a", "b", **wrong),
            next(iter(wrong)),
        )
        for wrong in (
            {"hosts_dirs": "/etc"},
            {"tls": "ca.pem"},
            {"realm_hosts": "a.example"},
            {"timeout": "5"},
            {"timeout": 0},
            {"cancel": 5},
        )
    ),
    (lambda client, layout: logout(None), "registry cannot be None"),  # type: ignore[arg-type]
    (lambda client, layout: logout("a", timeout=-1), "timeout cannot be -1"),
    (lambda client, layout: logout("a", cancel=5), "cancel cannot be 5"),  # type: ignore[arg-type]
    (lambda client, layout: LogFile(5), "path cannot be 5"),  # type: ignore[arg-type]
    (lambda client, layout: closing_on_failure("x"), "streams cannot be 'x'"),  # type: ignore[arg-type]
    (lambda client, layout: Streams("x"), "stdin cannot be 'x'"),  # type: ignore[arg-type]
    (lambda client, layout: Capturing("x"), "input cannot be 'x'"),  # type: ignore[arg-type]
    (lambda client, layout: signal_number(None), "unknown signal None"),  # type: ignore[arg-type]
    (lambda client, layout: check_id(5), "5 cannot be an id"),  # type: ignore[arg-type]
    (lambda client, layout: options_of_task("x", None), "runtime_options cannot be 'x'"),  # type: ignore[arg-type]
    (
        lambda client, layout: options_of_task({"root": "/x"}, AnyValue("a/kata.Options", b"")),
        "the runtime options of the container are of the type 'kata.Options'",
    ),
    *(
        (lambda client, layout, wrong=wrong: entered(log_progress(**wrong)), next(iter(wrong)))
        for wrong in ({"logger": "x"}, {"level": "INFO"}, {"interval": "5"}, {"interval": -1})
    ),
    (lambda client, layout: entered(tqdm_progress(5)), "file cannot be 5"),  # type: ignore[arg-type]
    (lambda client, layout: client.call(5), "method cannot be 5"),
    (lambda client, layout: client.call(VERSION, schema=5), "schema cannot be 5"),
    (lambda client, layout: client.call(VERSION, timeout="5"), "timeout cannot be '5'"),
    (lambda client, layout: client.call(VERSION, 5), f"{VERSION} takes a google.protobuf.Empty"),
    (lambda client, layout: client.transfer(5, 5), "source cannot be 5"),
    (
        lambda client, layout: client.transfer(AnyValue("a/b", b""), "x"),
        "destination cannot be 'x'",
    ),
    (lambda client, layout: client.lease(id=5), "id cannot be 5"),
    (lambda client, layout: client.lease(id=""), "id cannot be ''"),
    (lambda client, layout: client.lease(labels=["a"]), "labels cannot be"),
    (lambda client, layout: client.lease_service.joining(5), "id cannot be 5"),
    (lambda client, layout: client.stub(5), "service cannot be 5"),
    (lambda client, layout: client.stub("x", schema=5), "schema cannot be 5"),
    (lambda client, layout: entered(client.temp_mount(5)), "mounts cannot be 5"),
    (lambda client, layout: entered(client.temp_mount("/x")), "mounts cannot be '/'"),
    (lambda client, layout: entered(client.temp_mount([5])), "mounts cannot be 5"),
    (lambda client, layout: entered(client.temp_mount([])), "there is nothing to mount"),
    *(
        (lambda client, layout, call=call: call(Registry(REFERENCE.host)), said)
        for call, said in REGISTRY_CALLS
    ),
]


@pytest.mark.parametrize(("call", "said"), CALLS)
def test_a_wrong_argument_is_named(
    call: Callable[[Any, Any], object], said: str, tmp_path: Path
) -> None:
    if said.startswith("policy"):
        pytest.importorskip("cryptography")  # else its absence is the error
    with Client(f"{tmp_path}/none") as client, Layout(tmp_path / "layout") as layout:
        with pytest.raises(InvalidArgument) as caught:
            call(client, layout)
        assert str(caught.value).startswith(said)
        assert "s3cret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("missing", NotFound),
        ("missing/below", NotFound),
        ("file/below", InvalidArgument),
        ("folder", InvalidArgument),
    ],
)
def test_paths_of_archives(name: str, kind: type[ContainerdError], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    path, layout = tmp_path / name, Layout(tmp_path / "layout")
    with pytest.raises(kind) as caught:
        layout.import_images(path)
    assert "/below" not in name or str(path) in str(caught.value)


def test_run_says_what_to_use_without_detach(tmp_path: Path) -> None:
    with Client(f"{tmp_path}/none") as client:
        with pytest.raises(InvalidArgument, match=r"^streams= requires detach=True.*popen"):
            client.run("x", streams=NullIO())  # type: ignore[call-overload]
        with pytest.raises(InvalidArgument, match=r"^restart= requires detach=True"):
            client.run("x", restart="always")
