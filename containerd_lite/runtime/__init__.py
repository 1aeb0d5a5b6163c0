"""Containers and their processes on a daemon.

What lives here: ``specs`` (a spec from an image and options), ``io`` (FIFOs), ``container`` and
``task``, ``run``.  What may not: registries.
"""
