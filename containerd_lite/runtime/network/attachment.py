"""Containers on networks, by way of CNI plugins.

What lives here: putting a container's network namespace on networks and taking it off again, and
what its record keeps for that.  What may not: how a plugin is run.

The record's extension ``NETWORKS`` has all that another process needs to take the container off::

    {"attachments": [{"network": …, "path": […], "wishes": {…}, "container": "<namespace>--<id>",
                      "netns": "/proc/…/ns/net", "netnsId": "…", "ifname": "eth0", "result": {…}}]}

``network`` is the configuration as it was used, ``result`` what the plugins made of it.  For
people and filters there are labels beside it, ``LABEL`` and the network's name, whose values are
the addresses.  They are never read: an image's labels may become its container's, and an image
must not say which programs run on the machine.
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

LABEL = "containerd-lite/network."
#: Under the names of what containerd's typeurl keeps as JSON.
_TYPE = "types.containerd.io/containerd-lite/1/Networks"
#: containerd allows a label 4096 bytes, of which its name may take 279.
_MAX_LABEL = 2048
#: A network's plugins have this long (seconds); a lease by DHCP takes some.
_TIMEOUT = 60.0


# ---- a container's place on a network ------------------------------------------------------


@record(frozen=True)
class Attachment:
    """A container on a network, as interface ``ifname``; without a ``result`` it is not yet.

    ``container`` is its name for plugins.  ``netns`` is the path of its network namespace, and
    ``netns_id`` tells that from others that may come there: a pid is used again.
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
        """Put the container on the network; gives what it is after each plugin."""
        made = self
        for plugin in self.network.config.plugins:
            said = made._run("ADD", plugin, made.result, self.netns, deadline)
            made = replace(self, result=result_of(said, str(plugin["type"])))
            yield made

    def delete(self, deadline: Deadline) -> None:
        """Take the container off the network; what is gone already is no error.

        Other than the specification says it goes on where a plugin fails, so that an address is
        free in any case; what the first one said is raised at the end, with the rest as
        ``joined``.  It may be done again.
        """
        netns = self.netns if _identity(self.netns) == self.netns_id else ""
        told = self.result if self.network.config.tells_deletion else None
        failures: list[ContainerdError] = []
        for plugin in reversed(self.network.config.plugins):
            try:
                self._run("DEL", plugin, told, netns, deadline)
            except ContainerdError as error:
                failures.append(error)
        if failures:
            failures[0].joined = tuple(failures[1:])
            raise failures[0]

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
        config = self.network.config.for_plugin(plugin, self.network.wishes, previous)
        return run_plugin(find_plugin(str(plugin["type"]), folders), config, parameters, deadline)

    def summary(self) -> str:
        """The interface and as many of the addresses as a label holds."""
        text = self.ifname
        for one in self.result.ips if self.result else ():
            longer = f"{text} {one.address.ip}"
            if len(longer) > _MAX_LABEL:
                break
            text = longer
        return text

    def json(self) -> dict[str, object]:
        """What ``of`` reads; the module says how it looks."""
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
        """Raises ``InvalidArgument`` for what ``json`` did not make."""
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
    """Which namespace is at a path, of all since the machine was made; ``""`` if none is."""
    try:
        about = os.stat(netns)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (OSError, ValueError):  # the latter for a path with a NUL
        return ""
    return f"{boot}:{about.st_dev}:{about.st_ino}"


def _own_identity(netns: str) -> str:
    """As ``_identity``, if the namespace can be a container's.  ``FailedPrecondition``."""
    found = _identity(netns)
    # Plugins would have ours, whichever thread of ours it is; the first process has the machine's.
    if not found or found in map(_identity, ("/proc/thread-self/ns/net", "/proc/1/ns/net")):
        raise FailedPrecondition(
            f"{netns} is no network namespace of a container's own",
            remedy="The container must have one and not have ended, and the client must be root, "
            "on the daemon's machine, where it sees the daemon's processes",
        )
    return found


# ---- on containers -------------------------------------------------------------------------


def attachments_of(record: ContainerRecord) -> tuple[Attachment, ...]:
    """The networks that a container's record says it is on.  Raises ``InvalidArgument``."""
    found = record.extensions.get(NETWORKS)
    if found is None or not found.value:
        return ()
    document = Document.parse(found.value, f"the extension {NETWORKS} of container {record.id}")
    return document.each("attachments", Attachment.of)


def wanted(networks: Sequence[Network], ports: Sequence[PortMapping] = ()) -> dict[str, AnyValue]:
    """Extensions that have a container's tasks put on networks, whoever makes them.

    ``ports`` lead to its address on the first network.  Raises ``InvalidArgument``.
    """
    chosen = _wanted(networks, ports)
    if not chosen:
        return {}
    value = {"networks": [network.json() for network in chosen]}
    return {WANTED_NETWORKS: AnyValue.of(_TYPE, value)}


def wanted_of(record: ContainerRecord) -> tuple[Network, ...]:
    """The networks that ``wanted`` has written down.  Raises ``InvalidArgument``."""
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
    """Put a container on networks, as ``eth0``, ``eth1``, …, and note it in its record.

    It must have a task, with that ``pid``, which should not run yet.  ``ports`` lead to its
    address on the first network.  It is taken off what it may be on still from an earlier task.
    ``timeout`` in seconds is for all plugins.  Raises ``FailedPrecondition`` for a process without
    a network namespace of its own, ``InvalidArgument``, ``NotFound``, ``Unavailable``, ``Unknown``
    or ``ResourceExhausted`` by what plugins say, ``DeadlineExceeded``; it is on no network then.
    """
    wanted = _wanted(networks, ports)
    if not wanted:
        return ()
    netns, name = f"/proc/{pid}/ns/net", f"{namespace}--{container_id}"
    identity = _own_identity(netns)
    # An id has no two separators in a row (pkg/identifiers): no two containers are called so.
    state = [
        Attachment(network, name, netns, identity, f"eth{n}") for n, network in enumerate(wanted)
    ]
    disconnect(containers, container_id, timeout=timeout)
    # Before it is done: whoever finds a container that we could not finish can clean up.
    _note(containers, container_id, state)
    try:
        deadline = Deadline(timeout)
        for n, planned in enumerate(state):
            for state[n] in planned.added(deadline):
                pass  # what was done so far is in the state, if the next plugin fails
        _note(containers, container_id, state)
    except BaseException:
        with suppress(ContainerdError):
            # A plugin that refuses what it is given, or is not there, refused to make it, too.
            refusals = (InvalidArgument, NotFound)
            _leave(containers, container_id, state, Deadline(timeout), refusals)
        raise
    return tuple(state)


def _wanted(networks: Sequence[Network], ports: Sequence[PortMapping]) -> Sequence[Network]:
    names = [network.name for network in networks]
    if len(set(names)) < len(names):
        raise InvalidArgument(f"a network is named twice: {', '.join(names)}")
    if not ports:
        return networks
    if not networks:
        raise InvalidArgument("ports lead nowhere without a network", remedy="Give network=")
    return [networks[0].with_options(ports=ports), *networks[1:]]


def disconnect(
    containers: ContainerService,
    container_id: str,
    *,
    netns: str = "",
    timeout: float | None = _TIMEOUT,
) -> None:
    """Take a container off the networks that its record names; on none, it does nothing.

    It may be done at any time, by any process and again: with the task or after it.  ``netns`` is
    another path to the namespace, where somebody holds it.  ``timeout`` in seconds is for all
    plugins.  Raises what the first plugin said that failed, after all were called: what failed
    stays in the record.  Raises ``NotFound`` for a container that is none.
    """
    found = attachments_of(containers.get(container_id))
    if found:
        again = [replace(one, netns=netns or one.netns) for one in found]
        _leave(containers, container_id, again, Deadline(timeout))


def _leave(
    containers: ContainerService,
    container_id: str,
    attachments: Sequence[Attachment],
    deadline: Deadline,
    forgiven: tuple[type[ContainerdError], ...] = (),
) -> None:
    """Take a container off, and note what is left; failures that are ``forgiven`` are none."""
    left, gone, failures = list[Attachment](), list[Attachment](), list[ContainerdError]()
    for one in reversed(attachments):
        try:
            one.delete(deadline)
        except ContainerdError as error:
            if not all(isinstance(each, forgiven) for each in (error, *error.joined)):
                left.insert(0, one)
                failures.append(error)
                continue
        gone.append(one)
    with suppress(NotFound):  # the container may be gone, with its record
        _note(containers, container_id, left, gone)
    if failures:
        raise failures[0]


def _note(
    containers: ContainerService,
    container_id: str,
    attachments: Sequence[Attachment],
    gone: Sequence[Attachment] = (),
) -> None:
    """Write into a container's record which networks it is on, in one step."""
    value = AnyValue.of(_TYPE, {"attachments": [one.json() for one in attachments]})
    labels = {LABEL + one.network.name: one.summary() for one in attachments if one.result}
    record = ContainerRecord(container_id, labels=labels, extensions={NETWORKS: value})
    names = [f"labels.{LABEL}{one.network.name}" for one in (*attachments, *gone)]
    containers.update(record, [f"extensions.{NETWORKS}", *names])
