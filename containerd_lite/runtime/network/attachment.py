"""Connects containers to networks, and disconnects them, by CNI plugins.

The extension ``NETWORKS`` of a container's record has the data with which another process can
disconnect the container::

    {"attachments": [{"network": …, "path": […], "runtime_config": {…},
                      "container": "<namespace>--<id>", "netns": "/proc/…/ns/net",
                      "netnsId": "…", "ifname": "eth0", "result": {…}}]}

``network`` is the configuration as it was used, ``result`` is the result of its plugins.

For people and filters, the record also has a label for each network: ``LABEL`` and the network's
name, with the addresses as its value. This package does not read these labels, because a container
may have labels of its image, and an image must not decide which programs run on the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ...deadline import Deadline
from ...errors import ContainerdError, FailedPrecondition, InvalidArgument, NotFound
from ...oci.document import Document
from ...records import record, replace
from ...services._types import AnyValue
from ...services.containers import ContainerRecord, ContainerService
from ..labels import NETWORKS, WANTED_NETWORKS
from .cni import Json, NetworkResult, check_name, result_of
from .cni_plugin import find_plugin, run_plugin
from .network import Network, PortMapping

#: The prefix of the labels; the network's name follows.
LABEL = "containerd-lite/network."
#: The type URL of the extensions, with the prefix of types that containerd's typeurl has as JSON.
_TYPE = "types.containerd.io/containerd-lite/1/Networks"
#: Most bytes of a label's value. containerd allows 4096 bytes for a label. Its name may take 279.
_MAX_LABEL = 2048
#: Seconds for the plugins of a call, unless the caller gives a timeout. DHCP takes a few of them.
_TIMEOUT = 60.0


# ---- one container on one network ----------------------------------------------------------


@record(frozen=True)
class Attachment:
    """The connection of a container to a network.

    Attributes:
        network: The network.
        container: The container's name for plugins (``CNI_CONTAINERID``).
        netns: The path of the container's network namespace.
        netns_id: The identity of the namespace. The path has the pid of a process, so that it may
            later lead to the namespace of another process.
        ifname: The name of the interface in the container.
        result: The result of the plugins, ``None`` before the first has run.

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

    def added(self, deadline: Deadline) -> Iterator[Attachment]:
        """Connect the container to the network; yield the new attachment after each plugin."""
        current = self
        for plugin in self.network.config.plugins:
            output = current._run("ADD", plugin, current.result, self.netns, deadline)
            current = replace(self, result=result_of(output, str(plugin["type"])))
            yield current

    def delete(self, deadline: Deadline) -> None:
        """Disconnect the container from the network. This can be repeated.

        If a plugin fails, the other plugins still run, so that they release the addresses. The
        specification says otherwise.

        Args:
            deadline: When to kill a plugin that still runs.

        Raises:
            ContainerdError: The error of the first plugin that failed. Its ``joined`` has the
                errors of the others.
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
        """Return the value of the label: the interface, and as many addresses as fit."""
        text = self.ifname
        for ip in self.result.ips if self.result else ():
            longer = f"{text} {ip.address.ip}"
            if len(longer) > _MAX_LABEL:
                break
            text = longer
        return text

    def json(self) -> dict[str, object]:
        """Return the attachment as a JSON object, which the module's docstring describes."""
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
        """Return the attachment in a JSON object that ``json`` made.

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
    """Return the identity of the namespace at a path, ``""`` if the path does not exist.

    The identity is unique even across reboots of the machine.
    """
    try:
        info = os.stat(netns)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):  # ValueError for a path with a NUL
        return ""
    return f"{boot}:{info.st_dev}:{info.st_ino}"


def _container_identity(netns: str) -> str:
    """Return the identity of a container's own namespace.

    Raise ``FailedPrecondition`` if the path does not exist, or if it leads to the namespace of
    this thread or of the machine. Plugins must not change these.
    """
    found = _identity(netns)
    # Threads of one process may have different namespaces. Process 1 has the machine's.
    if not found or found in map(_identity, ("/proc/thread-self/ns/net", "/proc/1/ns/net")):
        raise FailedPrecondition(
            f"{netns} is not a container's own network namespace",
            remedy="Give the container a network namespace and a task that has not ended, and run "
            "as root on the daemon's machine, in its pid namespace",
        )
    return found


# ---- all networks of a container -----------------------------------------------------------


def attachments_of(record: ContainerRecord) -> tuple[Attachment, ...]:
    """Return the networks to which a container is connected, by its record.

    Raises:
        InvalidArgument: The extension of the record is not valid.
    """
    found = record.extensions.get(NETWORKS)
    if found is None or not found.value:
        return ()
    document = Document.parse(found.value, f"the extension {NETWORKS} of container {record.id}")
    return document.each("attachments", Attachment.of)


def network_extensions(
    networks: Sequence[Network], ports: Sequence[PortMapping] = ()
) -> dict[str, AnyValue]:
    """Return extensions for a container's record that name the networks of its tasks.

    When this package creates a task of the container, it connects the task to these networks.

    Args:
        networks: The networks.
        ports: Ports that are mapped to the container's address on the first network.

    Returns:
        The extensions; empty without networks.

    Raises:
        InvalidArgument: A network occurs twice, there are ports without a network, or the first
            network does not support ports.
    """
    with_ports = _with_ports(networks, ports)
    if not with_ports:
        return {}
    value = {"networks": [network.json() for network in with_ports]}
    return {WANTED_NETWORKS: AnyValue.of(_TYPE, value)}


def networks_of(record: ContainerRecord) -> tuple[Network, ...]:
    """Return the networks of a container's tasks, which ``network_extensions`` put into its record.

    Raises:
        InvalidArgument: The extension of the record is not valid.
    """
    found = record.extensions.get(WANTED_NETWORKS)
    if found is None or not found.value:
        return ()
    document = Document.parse(
        found.value, f"the extension {WANTED_NETWORKS} of container {record.id}"
    )
    return document.each("networks", Network.read)


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
    """Connect a container to networks, as ``eth0``, ``eth1``, …, and write this to its record.

    The container must have a task, which should not be started yet. Connections that are left
    from an earlier task are removed first. If this function fails, it removes the new ones, too.

    Args:
        containers: The container service.
        namespace: The namespace of the container.
        container_id: The container's id.
        pid: The pid of its task.
        networks: The networks.
        ports: Ports that are mapped to the container's address on the first network.
        timeout: Seconds for all plugins together. ``None``: no limit. Default: 60.

    Returns:
        The connections.

    Raises:
        FailedPrecondition: The process has no network namespace of its own.
        InvalidArgument: The networks or ports are not valid, or a plugin refuses its input.
        NotFound: The container or a plugin does not exist.
        Unavailable: A plugin asks to try again later.
        Unknown: A plugin failed in another way.
        ResourceExhausted: A plugin wrote too much output.
        DeadlineExceeded: The plugins did not end in time.
    """
    with_ports = _with_ports(networks, ports)
    if not with_ports:
        return ()
    netns, name = f"/proc/{pid}/ns/net", f"{namespace}--{container_id}"
    identity = _container_identity(netns)
    # The name is unique: an id does not have two separators in a row (pkg/identifiers).
    state = [
        Attachment(network, name, netns, identity, f"eth{n}")
        for n, network in enumerate(with_ports)
    ]
    disconnect(containers, container_id, timeout=timeout)
    # Written before the plugins run, so that another process can clean up if this one dies.
    _save(containers, container_id, state)
    try:
        deadline = Deadline(timeout)
        for n, planned in enumerate(state):
            for state[n] in planned.added(deadline):
                pass  # if the next plugin fails, the state has the results so far
        _save(containers, container_id, state)
    except BaseException:
        with suppress(ContainerdError):
            # A plugin that does not exist or refuses its input refused ADD, too.
            ignored = (InvalidArgument, NotFound)
            _delete_all(containers, container_id, state, Deadline(timeout), ignored)
        raise
    return tuple(state)


def _with_ports(networks: Sequence[Network], ports: Sequence[PortMapping]) -> Sequence[Network]:
    """Return the networks, the first of them with the ports; see ``network_extensions``."""
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

    Any process can do this at any time, also after the end of the task, and repeatedly. Networks
    whose plugins fail stay in the record.

    Args:
        containers: The container service.
        container_id: The container's id.
        netns: Another path to the container's network namespace, such as a bind mount of it.
            Default: the path in the record.
        timeout: Seconds for all plugins together. ``None``: no limit. Default: 60.

    Raises:
        NotFound: The container does not exist.
        ContainerdError: The error of the first plugin that failed, after all plugins have run.
    """
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
    """Delete attachments, and write those that failed to the container's record.

    An attachment whose errors are all of the ``ignored`` classes counts as deleted. The first of
    the other errors is raised at the end.
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
