"""The content-addressed pipeline, the same on every store.

What lives here: ``resolver`` (where content comes from), ``fetch`` (one blob) and ``turns`` (one
writer of it at a time), ``platforms`` (which manifest), ``labels``, ``pull``, ``unpack``, and on
top ``image`` and ``catalog``.  What may not: sockets.
"""
