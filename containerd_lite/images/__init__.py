"""The content-addressed pipeline, the same on every store.

What lives here: ``resolver`` (where content comes from), ``fetch`` (one blob), ``labels``,
``pull``, ``unpack``, ``image``.  What may not: sockets.
"""
