"""Containers and their processes on a daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .container import Container as Container
    from .container import DetachedContainer as DetachedContainer
    from .container import discard_container as discard_container
    from .container import list_containers as list_containers
    from .container import load_container as load_container
    from .creation import create_container as create_container
    from .creation import detached_streams as detached_streams
    from .creation import restore_container as restore_container
    from .io.base import closing_on_failure as closing_on_failure
    from .kept.log_reader import LogLine as LogLine
    from .popen import Running as Running
    from .popen import open_pipes as open_pipes
    from .run import Capturing as Capturing
    from .run import CompletedContainer as CompletedContainer
    from .run import CompletedProcess as CompletedProcess
    from .runtime_backend import RuntimeBackend as RuntimeBackend
    from .sandbox import Sandbox as Sandbox
    from .sandbox import create_sandbox as create_sandbox
    from .sandbox import load_sandbox as load_sandbox
    from .spec.options import ContainerOptions as ContainerOptions
    from .spec.options import ExecOptions as ExecOptions
    from .spec.options import ProcessOptions as ProcessOptions
    from .spec.options import RunOptions as RunOptions
    from .spec.options import split_exec as split_exec
    from .spec.options import split_run as split_run
    from .summary import ContainerSummary as ContainerSummary
    from .summary import list_summaries as list_summaries
    from .waits import wait_all as wait_all
    from .waits import wait_any as wait_any
    from .watch.started import started_label as started_label

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "runtime_backend": ["RuntimeBackend"],
        "container": [
            "Container",
            "DetachedContainer",
            "discard_container",
            "list_containers",
            "load_container",
        ],
        "creation": ["create_container", "detached_streams", "restore_container"],
        "io.base": ["closing_on_failure"],
        "kept.log_reader": ["LogLine"],
        "popen": ["Running", "open_pipes"],
        "run": ["Capturing", "CompletedContainer", "CompletedProcess"],
        "sandbox": ["Sandbox", "create_sandbox", "load_sandbox"],
        "spec.options": [
            "ContainerOptions",
            "ExecOptions",
            "ProcessOptions",
            "RunOptions",
            "split_exec",
            "split_run",
        ],
        "summary": ["ContainerSummary", "list_summaries"],
        "waits": ["wait_all", "wait_any"],
        "watch.started": ["started_label"],
    },
)
