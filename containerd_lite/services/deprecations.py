"""Remedies for the deprecated features that a daemon reports."""

from __future__ import annotations

#: The prefix of the ids of all deprecations.
PREFIX = "io.containerd.deprecation/"
_MIRRORS = (
    "Write each registry's settings into a hosts.toml, and name the folder of these files in "
    "config_path, in the section registry of the CRI plugin"
)
_ENVIRONMENT = "Remove the setting, and set the variables OTEL_* in the daemon's environment"
_RUNC_V2 = "Create the containers again with the runtime io.containerd.runc.v2"
_RUNTIMES = "section of the runtime in the CRI plugin's containerd.runtimes"
#: Remedies by the id without its prefix.
#: Source: pkg/deprecation/deprecation.go of containerd 1.7.24 to 2.4.2.
REMEDIES = {
    "aufs-snapshotter": "Use the snapshotter overlayfs; pull the images again for it",
    "cgroup-v1": "Start the machine with cgroup v2: systemd.unified_cgroup_hierarchy=1 on the "
    "kernel's command line, or a newer operating system",
    "cri-api-v1alpha2": "Use a kubelet (1.26 or newer) or a crictl that calls CRI v1",
    "cri-cni-bin-dir": "Rename bin_dir to bin_dirs, a list, in the section cni of the CRI plugin",
    "cri-create-container-checkpoint-restore": "Restore checkpoints with the verb restore or with "
    "ctr containers restore, not with the CRI's CreateContainer",
    "cri-criu-path": "Remove CriuPath, and put the program criu on the daemon's PATH",
    "cri-default-runtime": "Name the runtime in default_runtime_name, and move its settings into "
    "containerd.runtimes",
    "cri-registry-auths": "Give the credentials to Kubernetes as imagePullSecrets",
    "cri-registry-configs": f"{_MIRRORS}; a hosts.toml has the keys ca, client and skip_verify",
    "cri-registry-mirrors": _MIRRORS,
    "cri-runtime-engine": f"Set runtime_type and options in the {_RUNTIMES}",
    "cri-runtime-root": f"Set options.Root in the {_RUNTIMES}",
    "cri-systemd-cgroup-v1": f"Set options.SystemdCgroup in the {_RUNTIMES}",
    "cri-untrusted-workload-runtime": "Add a runtime named untrusted to the CRI plugin's "
    "containerd.runtimes",
    "enable-cdi": "Remove enable_cdi: later releases always have CDI",
    "go-plugin-library": "Replace the Go library with a shim, or with a proxy plugin",
    "nri-plugin-interface": "Upgrade the NRI plugin that the message names",
    "nri-v010-plugin": "Run the plugin through NRI's v010-adapter, or upgrade it",
    "pull-schema-1-image": "Push these images again with a newer tool; pull them with "
    "convert_schema1=True until then",
    "restart-logpath": "Use the label containerd.io/restart.loguri, which restart= sets",
    "runc-options-task-api-address": "Set task_api_address in the request that creates the task",
    "runc-options-task-api-version": "Set task_api_version in the request that creates the task",
    "runtime-runc-v1": _RUNC_V2,
    "runtime-v1": _RUNC_V2,
    "tracing-processor-config": _ENVIRONMENT,
    "tracing-service-config": _ENVIRONMENT,
}
