"""Connects containers to networks by means of CNI plugins, and disconnects them.

The record of a connected container has the extension ``NETWORKS``. With the data in this extension,
any other process can disconnect the container::

    {"attachments": [{"network": …, "path": […], "runtime_config": {…},
                      "container": "<namespace>--<id>", "netns": "/proc/…/ns/net",
                      "netnsId": "…", "ifname": "eth0", "result": {…}}]}

``network`` is the configuration that the plugins got. ``result`` is the result of the plugins.

The record also has a label for each network. People can read these labels, and filters can use
them. The name of a label is ``LABEL`` followed by the network's name. The value of the label is the
interface and the addresses. This package never reads a network from a label, because the labels of
an image can be copied to a container. An image must not decide which programs run on the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ... import limits
from ...deadline import Deadline
from ...errors import ContainerdError, FailedPrecondition, InvalidArgument, NotFound
from ...interrupt import shielded
from ...oci.document import Document
from ...records import record, replace
from ...services._types import AnyValue
from ...services.containers import ContainerRecord, ContainerService
from ..labels import NETWORKS, WANTED_NETWORKS
from .cni import Json, NetworkResult, check_name, result_of
from .cni_plugin import find_plugin, run_plugin
from .network import Network, PortMapping
from .network_files import NetworkFiles

#: The prefix of a label's name. The network's name follows the prefix.
LABEL = "containerd-lite/network."
#: The type URL of the extensions. containerd's typeurl uses this prefix for types in JSON.
_TYPE = "types.containerd.io/containerd-lite/1/Networks"
#: Maximum size of a label's value, in bytes. containerd allows 4096 bytes for a label's name and
#: value together. A label's name has up to 279 bytes.
_MAX_LABEL = 2048
#: Seconds that the plugins of a call may take together, if the caller gives no timeout. DHCP takes
#: a few seconds.
_TIMEOUT = 60.0


# ---- one container on one network ----------------------------------------------------------


@record(frozen=True)
class Attachment:
    """The connection of a container to a network.

    Attributes:
        network: The network.
        container: The container's name for plugins (``CNI_CONTAINERID``).
        netns: The path of the container's network namespace.
        netns_id: The identity of the namespace. The path ``netns`` contains the pid of a process.
            If another process gets this pid later, ``netns`` leads to another namespace.
        ifname: The name of the interface in the container.
        result: The result of the plugin that has run last, ``None`` if no plugin has run.

    Raises:
        InvalidArgument: ``container`` or ``ifname`` is not a valid name.
    """

    network: Network
    container: str
    netns: str
    netns_id: str
    ifname: str
    result: NetworkResult | None = None

    def __post_init__(self) -> None:
        check_name(self.container, "a container's name for CNI")
        check_name(self.ifname, "an interface's name")

    def add(self, deadline: Deadline) -> Iterator[Attachment]:
        """Connect the container to the network.

        Run the plugins one after the other. After each plugin, yield an attachment with the
        plugin's result.
        """
        current = self
        for plugin in self.network.config.plugins:
            output = current._run("ADD", plugin, current.result, self.netns, deadline)
            current = replace(self, result=result_of(output, str(plugin["type"])))
            yield current

    def delete(self, deadline: Deadline) -> None:
        """Disconnect the container from the network. It is not an error to call this method twice.

        If a plugin fails, the other plugins still run, so that they release the addresses.
        According to the CNI specification, the deletion ends when a plugin fails.

        Args:
            deadline: The time at which a plugin that still runs is killed.

        Raises:
            ContainerdError: The error of the first plugin that failed. The attribute ``joined`` of
                this error has the errors of the other plugins that failed.
        """
        netns = self.netns if _identity(self.netns) == self.netns_id else ""
        previous = self.result if self.network.config.passes_result_to_del else None
        errors: list[ContainerdError] = []
        for plugin in reversed(self.network.config.plugins):
            try:
                self._run("DEL", plugin, previous, netns, deadline)
            except ContainerdError as error:
                errors.append(error)
        if errors:
            errors[0].joined = tuple(errors[1:])
            raise errors[0]

    def _run(
        self,
        command: str,
        plugin: Json,
        result: NetworkResult | None,
        netns: str,
        deadline: Deadline,
    ) -> bytes:
        folders = self.network.folders
        parameters = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": self.ifname,
            "CNI_PATH": os.pathsep.join(map(str, folders)),
        }
        previous = None if result is None else result.raw
        config = self.network.config.for_plugin(plugin, self.network.runtime_config, previous)
        return run_plugin(find_plugin(str(plugin["type"]), folders), config, parameters, deadline)

    def summary(self) -> str:
        """Return the value of the network's label: the interface and the addresses.

        Addresses that do not fit into a label are omitted.
        """
        text = self.ifname
        for ip in self.result.ips if self.result else ():
            longer = f"{text} {ip.address.ip}"
            if len(longer) > _MAX_LABEL:
                break
            text = longer
        return text

    def json(self) -> dict[str, object]:
        """Return the attachment as a JSON object in the form that the module's docstring shows."""
        return {
            **self.network.json(),
            "container": self.container,
            "netns": self.netns,
            "netnsId": self.netns_id,
            "ifname": self.ifname,
            "result": None if self.result is None else self.result.raw,
        }

    @classmethod
    def of(cls, document: Document) -> Attachment:
        """Return the attachment that the method ``json`` has written as a JSON object.

        Raises:
            InvalidArgument: The object is not a valid attachment.
        """
        result = document.document("result")
        return cls(
            Network.read(document),
            document.text("container", None),
            document.text("netns", None),
            netns_id=document.text("netnsId", None),
            ifname=document.text("ifname", None),
            result=NetworkResult.of(result) if result else None,
        )


def _identity(netns: str) -> str:
    """Return the identity of the namespace at a path, or ``""`` if the path does not exist.

    After a reboot of the machine, no namespace has the same identity as before.
    """
    try:
        info = os.stat(netns)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):  # a path with a NUL causes a ValueError
        return ""
    return f"{boot}:{info.st_dev}:{info.st_ino}"


def _container_identity(netns: str) -> str:
    """Return the identity of a container's own network namespace.

    Raise ``FailedPrecondition`` if the path does not exist, or if the path leads to the network
    namespace of this thread or of the machine. Plugins must not change the network of this program
    or of the machine.
    """
    found = _identity(netns)
    if not found:
        raise FailedPrecondition(
            f"network namespace {netns} does not exist or cannot be accessed",
            remedy="Connect the networks before the task ends, and run this program as root on the "
            "daemon's machine, in the daemon's pid namespace",
        )
    # Threads of one process can have different namespaces. Process 1 is in the machine's namespace.
    if found in map(_identity, ("/proc/thread-self/ns/net", "/proc/1/ns/net")):
        raise FailedPrecondition(
            f"{netns} is the network namespace of this program or of the machine",
            remedy="Check that the container has its own network namespace, and that this program "
            "runs in the daemon's pid namespace",
        )
    return found


# ---- all networks of a container -----------------------------------------------------------


def attachments_of(record: ContainerRecord) -> tuple[Attachment, ...]:
    """Return the connections that are in a container's record.

    Raises:
        InvalidArgument: The extension of the record is not valid.
    """
    found = record.extensions.get(NETWORKS)
    if found is None or not found.value:
        return ()
    document = Document.parse(found.value, f"the extension {NETWORKS} of container {record.id}")
    return document.each("attachments", Attachment.of)


def network_extensions(
    networks: Sequence[Network], files: NetworkFiles | None = None
) -> dict[str, AnyValue]:
    """Return the extension that names a container's networks in the container's record.

    When this package creates a task of the container, it connects the task to these networks.

    Args:
        networks: The networks.
        files: The container's own files. Default: the container has none.

    Returns:
        A mapping from the extension's name to its value.
    """
    value: dict[str, object] = {"networks": [network.json() for network in networks]}
    if files is not None:
        value["files"] = files.json()
    return {WANTED_NETWORKS: AnyValue.of(_TYPE, value)}


def networks_of(record: ContainerRecord) -> tuple[Network, ...]:
    """Return the networks in the extension that ``network_extensions`` has made.

    Raises:
        InvalidArgument: The extension of the record is not valid.
    """
    document = _wanted(record)
    return document.each("networks", Network.read) if document else ()


def files_of(record: ContainerRecord) -> NetworkFiles | None:
    """Return the container's own files in the extension that ``network_extensions`` has made.

    Raises:
        InvalidArgument: The extension of the record is not valid.
    """
    document = _wanted(record)
    files = document.document("files") if document else None
    return NetworkFiles.read(files) if files else None


def _wanted(record: ContainerRecord) -> Document | None:
    found = record.extensions.get(WANTED_NETWORKS)
    if found is None or not found.value:
        return None
    what = f"the extension {WANTED_NETWORKS} of container {record.id}"
    return Document.parse(found.value, what)


def connect(
    containers: ContainerService,
    namespace: str,
    container_id: str,
    pid: int,
    networks: Sequence[Network],
    *,
    ports: Sequence[PortMapping] = (),
    timeout: float | None = _TIMEOUT,
) -> tuple[Attachment, ...]:
    """Connect a container to networks, and write the connections to the container's record.

    The interfaces in the container are ``eth0``, ``eth1``, …. The container must have a task, which
    should not be started yet. Connections of an earlier task are removed first. If this function
    fails, it also removes the new connections.

    Args:
        containers: The containers service.
        namespace: The containerd namespace of the container.
        container_id: The container's id.
        pid: The pid of the container's task.
        networks: The networks.
        ports: Ports of the machine to map to the container, on the first network. Default: none.
        timeout: Seconds that all plugins may take together, above 0. ``None`` means no limit.
            Default: 60.

    Returns:
        The connections.

    Raises:
        FailedPrecondition: The process does not have a network namespace of its own.
        InvalidArgument: The networks or ports are not valid, or a plugin refuses its input.
        NotFound: The container or a plugin does not exist.
        Unavailable: A plugin failed with the code "try again later".
        Unknown: A plugin failed for another reason.
        ResourceExhausted: A plugin wrote too much output.
        DeadlineExceeded: The plugins did not end in time.
    """
    timeout = limits.seconds("timeout", timeout)
    joined = with_ports(networks, ports)
    if not joined:
        return ()
    netns, name = f"/proc/{pid}/ns/net", f"{namespace}--{container_id}"
    identity = _container_identity(netns)
    # The name is unique, because an id never contains "--" (containerd's pkg/identifiers).
    state = [
        Attachment(network, name, netns, identity, f"eth{n}") for n, network in enumerate(joined)
    ]
    disconnect(containers, container_id, timeout=timeout)
    # Write the record before the plugins run. If this process dies, another process can clean up.
    _save(containers, container_id, state)
    try:
        deadline = Deadline(timeout)
        for n, planned in enumerate(state):
            for state[n] in planned.add(deadline):
                pass  # if a later plugin fails, state[n] has the result of the plugins before it
        _save(containers, container_id, state)
    except BaseException:
        with shielded(), suppress(ContainerdError):
            # If DEL fails with one of these errors, ADD has failed, too: no connection exists.
            ignored = (InvalidArgument, NotFound)
            _delete_all(containers, container_id, state, Deadline(timeout), ignored)
        raise
    return tuple(state)


def with_ports(networks: Sequence[Network], ports: Sequence[PortMapping]) -> Sequence[Network]:
    """Add the ports to the first network, and return the networks.

    Raises:
        InvalidArgument: Two networks have the same name, there are ports without a network, or the
            first network does not support ports.
    """
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise InvalidArgument(f"a network is named twice: {', '.join(names)}")
    if not ports:
        return networks
    if not networks:
        raise InvalidArgument("ports need a network", remedy="Set network=")
    return [networks[0].with_options(ports=ports), *networks[1:]]


def disconnect(
    containers: ContainerService,
    container_id: str,
    *,
    netns: str = "",
    timeout: float | None = _TIMEOUT,
) -> None:
    """Disconnect a container from all networks in its record.

    Any process can call this function, even after the end of the task, and more than once. A
    network stays in the record if one of its plugins fails.

    Args:
        containers: The containers service.
        container_id: The container's id.
        netns: Another path of the container's network namespace, such as a bind mount. Default: the
            path in the record.
        timeout: Seconds that all plugins may take together, above 0. ``None`` means no limit.
            Default: 60.

    Raises:
        NotFound: The container does not exist.
        ContainerdError: A plugin failed. The error is raised after all plugins have run.
    """
    timeout = limits.seconds("timeout", timeout)
    found = attachments_of(containers.get(container_id))
    if found:
        current = [replace(attachment, netns=netns or attachment.netns) for attachment in found]
        _delete_all(containers, container_id, current, Deadline(timeout))


def _delete_all(
    containers: ContainerService,
    container_id: str,
    attachments: Sequence[Attachment],
    deadline: Deadline,
    ignored: tuple[type[ContainerdError], ...] = (),
) -> None:
    """Delete attachments. Attachments that cannot be deleted stay in the container's record.

    If all errors of an attachment are of the classes in ``ignored``, the attachment counts as
    deleted. At the end, raise the error of the first attachment that could not be deleted.
    """
    failed, deleted, errors = list[Attachment](), list[Attachment](), list[ContainerdError]()
    for attachment in reversed(attachments):
        try:
            attachment.delete(deadline)
        except ContainerdError as error:
            if not all(isinstance(each, ignored) for each in (error, *error.joined)):
                failed.insert(0, attachment)
                errors.append(error)
                continue
        deleted.append(attachment)
    with suppress(NotFound):  # the container may have been deleted
        _save(containers, container_id, failed, deleted)
    if errors:
        raise errors[0]


def _save(
    containers: ContainerService,
    container_id: str,
    attachments: Sequence[Attachment],
    deleted: Sequence[Attachment] = (),
) -> None:
    """Write the attachments and their labels to the container's record, in one request."""
    value = AnyValue.of(_TYPE, {"attachments": [item.json() for item in attachments]})
    labels = {LABEL + item.network.name: item.summary() for item in attachments if item.result}
    record = ContainerRecord(container_id, labels=labels, extensions={NETWORKS: value})
    names = [f"labels.{LABEL}{item.network.name}" for item in (*attachments, *deleted)]
    containers.update(record, [f"extensions.{NETWORKS}", *names])
