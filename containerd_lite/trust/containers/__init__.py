"""Policies in the format of skopeo and podman."""
