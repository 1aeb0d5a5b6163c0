"""The version of this package, as a constant that also exists in a vendored copy."""

VERSION = "0.1.0"
USER_AGENT = f"containerd-lite/{VERSION}"
