"""This package's version: a constant, so that a vendored copy knows its own."""

VERSION = "0.1.0"
USER_AGENT = f"containerd-lite/{VERSION}"
