"""Containers and their processes on a daemon.

What lives here: ``specs`` (a spec from an image and options), ``io`` (FIFOs), ``task``,
``container`` and ``containers``, ``run``.  What may not: registries.
"""
