"""Users and groups of a container's root filesystem, as ids."""
