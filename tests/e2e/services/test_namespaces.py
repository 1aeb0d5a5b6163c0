"""Namespaces and their labels, beside what ``ctr`` says of them."""

from __future__ import annotations

import pytest

from containerd_lite import Client
from containerd_lite.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from containerd_lite.services.namespaces import Namespace
from tests.e2e.services.leftovers import (
    labels_of,
    nothing_stays,  # noqa: F401
    rows,
)
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.generations,
    pytest.mark.backend,
    pytest.mark.usefixtures("nothing_stays"),
]


def listed(daemon: Daemon, namespace: str) -> dict[str, dict[str, str]]:
    found = rows(daemon, namespace, "namespaces", "ls")
    return {line[0]: labels_of(line[1]) if len(line) > 1 else {} for line in found}


def test_create_and_list(client: Client, daemon: Daemon, namespace: str) -> None:
    service = client.namespace_service
    labels = {"a": "b", "containerd.io/defaults/snapshotter": "native"}
    assert service.create(namespace, labels) == Namespace(namespace, labels)
    assert service.get(namespace).labels == labels == listed(daemon, namespace)[namespace]
    for found in (service.list(), service.list(f"name=={namespace}")):  # filters go unlooked at
        assert {one.name: one.labels for one in found} == listed(daemon, namespace)
    with pytest.raises(AlreadyExists):
        service.create(namespace)
    service.delete(namespace)
    assert namespace not in listed(daemon, namespace)
    with pytest.raises(NotFound):
        service.delete(namespace)


def test_one_that_ctr_made(client: Client, daemon: Daemon, namespace: str) -> None:
    daemon.ctr("namespaces", "create", namespace, "k=v")
    service = client.namespace_service
    assert service.get(namespace).labels == {"k": "v"}
    daemon.ctr("namespaces", "label", namespace, "k=w", "l=m")
    assert service.get(namespace).labels == {"k": "w", "l": "m"}
    service.delete(namespace)


def test_update_masks(client: Client, daemon: Daemon, namespace: str) -> None:
    service = client.namespace_service
    service.create(namespace, {"a": "1", "b": "2"})
    assert service.update(namespace, {"a": "", "c": "3"}).labels == {"b": "2", "c": "3"}
    assert listed(daemon, namespace)[namespace] == {"b": "2", "c": "3"}
    assert service.update(namespace, {}).labels == {"b": "2", "c": "3"}
    some = service.update(namespace, {"b": "4", "c": "5"}, fields=["labels.b"])
    assert some.labels == {"b": "4", "c": "3"} == listed(daemon, namespace)[namespace]
    whole = service.update(namespace, {"x": "y"}, fields=())
    assert whole.labels == {"x": "y"} == listed(daemon, namespace)[namespace]
    with pytest.raises(InvalidArgument):
        service.update(namespace, {}, fields=["name"])
    service.delete(namespace)


def test_only_an_empty_one_is_deleted(client: Client, daemon: Daemon, namespace: str) -> None:
    daemon.ctr("snapshots", "prepare", "key", namespace=namespace)
    with pytest.raises(FailedPrecondition):
        client.namespace_service.delete(namespace)
    daemon.ctr("snapshots", "rm", "key", namespace=namespace)
    client.namespace_service.delete(namespace)
