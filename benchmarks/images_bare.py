"""A minimal pull with urllib3 and grpcio, as a peer of ``benchmarks.images``.

It supports only the images of that benchmark. It does not check, report, resume, renew or clean
up anything.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import count
from typing import Any
from urllib.parse import urlencode

import grpc
import urllib3

from benchmarks.measure import Result, Run, timed
from benchmarks.registry_ours import MIB
from containerd_lite.oci import digest as digests
from containerd_lite.oci.config import chain_ids
from containerd_lite.oci.media_types import OCI_MANIFEST
from containerd_lite.schema.pool import CONTAINERD, Method

Json = Mapping[str, Any]

#: Chunks of a layer that may be in flight to the daemon.
_IN_FLIGHT = 2
_LEASE = "bare"
_SNAPSHOTTER = "overlayfs"
_GC = "containerd.io/gc.ref"


def fetch(address: str, namespace: str, ref: str) -> Run:
    return _Bare(address, namespace, ref, 4).fetch


def pull(address: str, namespace: str, ref: str) -> Run:
    """Fetch two layers at a time: with four, the layer to unpack next arrives later."""
    return _Bare(address, namespace, ref, 2).pull


def push(address: str, namespace: str, name: str, host: str) -> Run:
    """Push the image ``name`` to a new repository each time, by mounts of its blobs."""
    bare, numbers = _Bare(address, namespace, name, 4), count()
    return lambda: bare.push(f"bare-{next(numbers)}")


def unpack(address: str, namespace: str, ref: str) -> Run:
    """Time only the unpacking, layer by layer, which no client can make shorter."""
    return _Bare(address, namespace, ref, 4).unpack


class _Bare:
    def __init__(self, address: str, namespace: str, ref: str, workers: int) -> None:
        self._ref = ref
        host, _, self._rest = ref.partition("/")
        name, port = host.split(":")
        self._http = urllib3.HTTPConnectionPool(name, int(port), maxsize=workers)
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.max_receive_message_length", 16 * MIB)]
        )
        self._metadata = (("containerd-namespace", namespace), ("containerd-lease", _LEASE))
        self._workers = workers

    def fetch(self) -> int:
        self._pull_image(unpacks=False)
        return 1

    def pull(self) -> int:
        self._pull_image(unpacks=True)
        return 1

    def unpack(self) -> Result:
        return self._pull_image(unpacks=True, fetches_first=True)

    def push(self, repository: str) -> int:
        """Ask for the name, mount the config and the layers, and name the manifest."""
        record = self._call("images.v1.Images/Get", name=self._ref).image
        body = self._read_content(record.target.digest, record.target.size)
        manifest = json.loads(body)
        base, source = f"/v2/{repository}", self._rest.rpartition(":")[0]
        self._http.request("HEAD", f"{base}/manifests/v1")

        def mount(blob: Json) -> None:
            fields = {"mount": blob["digest"], "from": source}
            self._http.request("POST", f"{base}/blobs/uploads/?{urlencode(fields)}")

        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(mount, [manifest["config"], *manifest["layers"]]))
        named = {"Content-Type": OCI_MANIFEST}
        response = self._http.request("PUT", f"{base}/manifests/v1", body=body, headers=named)
        assert response.status == 201, response.data
        return 1

    # ---- the daemon ------------------------------------------------------------------------

    def _call(self, path: str, **fields: object) -> Any:
        method = _method(path)
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return call(method.request(**fields), metadata=self._metadata)

    def _read_content(self, digest: str, size: int) -> bytes:
        method = _method("content.v1.Content/Read")
        read = self._channel.unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        request = method.request(digest=digest, size=size)
        return b"".join(part.data for part in read(request, metadata=self._metadata[:1]))

    def _write(self, blob: Json, data: Iterator[bytes], labels: Json) -> None:
        method = _method("content.v1.Content/Write")
        write = self._channel.stream_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        fields = {"ref": blob["digest"], "total": blob["size"], "expected": blob["digest"]}
        requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        responses = write(iter(requests.get, None), metadata=self._metadata)
        requests.put(method.request(action=0, **fields))
        next(responses)
        offset = in_flight = 0
        for chunk in data:
            requests.put(method.request(action=1, offset=offset, data=chunk, **fields))
            offset += len(chunk)
            in_flight += 1
            if in_flight > _IN_FLIGHT:
                next(responses)
                in_flight -= 1
        requests.put(method.request(action=2, offset=offset, labels=labels, **fields))
        for _ in range(in_flight + 1):
            next(responses)
        requests.put(None)
        for _ in responses:
            pass

    # ---- the image -------------------------------------------------------------------------

    def _get(self, kind: str, reference: str) -> urllib3.BaseHTTPResponse:
        path = f"/v2/{self._rest.rpartition(':')[0]}/{kind}/{reference}"
        headers = {"Accept": OCI_MANIFEST}
        return self._http.request("GET", path, headers=headers, preload_content=False)

    def _read(self, kind: str, reference: str) -> bytes:
        response = self._get(kind, reference)
        body = response.read()
        response.release_conn()
        return body

    def _fetch_layer(self, layer: Json) -> None:
        response = self._get("blobs", layer["digest"])
        self._write(layer, iter(lambda: response.read(MIB), b""), {})
        response.release_conn()

    def _pull_image(self, unpacks: bool, fetches_first: bool = False) -> Result:
        """Return the time of unpacking, while layers arrive or after all have arrived."""
        body = self._read("manifests", self._rest.rpartition(":")[2])
        manifest = json.loads(body)
        target = {"media_type": OCI_MANIFEST, "digest": digests.of(body), "size": len(body)}
        layers = manifest["layers"]
        self._call("leases.v1.Leases/Create", id=_LEASE)
        blobs = enumerate([manifest["config"], *layers])
        self._write(target, iter([body]), {f"{_GC}.content.{n}": b["digest"] for n, b in blobs})
        config = self._read("blobs", manifest["config"]["digest"])
        names = chain_ids(json.loads(config)["rootfs"]["diff_ids"]) if unpacks else ()
        with ThreadPoolExecutor(self._workers) as pool:
            fetches = [pool.submit(self._fetch_layer, layer) for layer in layers]
            if fetches_first:
                wait(fetches)
            unpacking = timed(lambda: self._unpack(layers, names, fetches))
            for fetch in fetches:
                fetch.result()
        labels = {f"{_GC}.snapshot.{_SNAPSHOTTER}": names[-1]} if unpacks else {}
        self._write(manifest["config"], iter([config]), labels)
        self._call("images.v1.Images/Create", image={"name": self._ref, "target": target})
        self._call("leases.v1.Leases/Delete", id=_LEASE)
        return unpacking

    def _unpack(
        self, layers: Sequence[Json], names: Sequence[str], fetches: Sequence[Future[None]]
    ) -> int:
        """Unpack each layer into the snapshot of its name when the layer has arrived."""
        parent = ""
        for layer, name, fetch in zip(layers, names, fetches, strict=False):
            snapshot = {"snapshotter": _SNAPSHOTTER, "key": f"extract-{name}"}
            prepared = self._call("snapshots.v1.Snapshots/Prepare", parent=parent, **snapshot)
            fetch.result()
            diff = {"media_type": layer["mediaType"], "digest": layer["digest"]}
            diff["size"] = layer["size"]
            self._call("diff.v1.Diff/Apply", diff=diff, mounts=prepared.mounts)
            self._call("snapshots.v1.Snapshots/Commit", name=name, **snapshot)
            parent = name
        return 1


def _method(path: str) -> Method:
    return CONTAINERD.method(f"containerd.services.{path}")
