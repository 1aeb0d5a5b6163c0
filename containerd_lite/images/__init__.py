"""The content-addressed pipeline, the same on every store.

What lives here: on top ``verbs``, what users call, and ``image``, what they get; ``walk``,
descriptor to children, and ``job``, what its parts share; ``platforms``, ``names``, ``labels``.
From registries ``resolver``, ``source``, ``fetch``, ``turns``, ``pull``, ``octet``, ``schema1``; to
them ``plan``, ``push``, ``copy``; into snapshots ``unpack``, ``apply``, ``cri_labels``; archives by
``importer``, ``exporter`` and theirs; upkeep by ``check``, ``verify``, ``repair``; the daemon's own
transfers by ``by_daemon`` and its ``transfer_*``.  What may not: sockets.
"""
