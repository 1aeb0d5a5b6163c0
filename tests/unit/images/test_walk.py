"""The walk: how handlers are put together, what is seen once, and what ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest

from containerd_lite.errors import Cancelled, InvalidArgument, ResourceExhausted
from containerd_lite.images.job import Job
from containerd_lite.images.walk import (
    MAX_DESCRIPTORS,
    Dispatcher,
    Handler,
    SkipDescriptor,
    StopHandlers,
    chain,
    children_of,
    walk,
)
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.manifest import MAX_DEPTH
from tests.harness import images


def named(number: int, media_type: str = media_types.OCI_MANIFEST) -> Descriptor:
    return Descriptor(media_type, f"sha256:{number:064x}", 1)


def number(descriptor: Descriptor) -> int:
    return int(descriptor.digest[7:], 16)


def tree(children: Mapping[int, Sequence[int]]) -> Handler:
    return lambda descriptor: [named(n) for n in children.get(number(descriptor), ())]


TREE = {1: (2, 3), 2: (4, 5), 3: (5, 6)}


def test_parents_come_first_and_each_comes_once() -> None:
    assert [number(found) for found in walk(tree(TREE), named(1))] == [1, 2, 4, 5, 3, 6]


def test_several_roots() -> None:
    assert [number(found) for found in walk(tree(TREE), named(3), named(2))] == [3, 5, 6, 2, 4]


def test_a_cycle_ends() -> None:
    assert [number(found) for found in walk(tree({1: (2,), 2: (1,)}), named(1))] == [1, 2]


def test_the_same_content_under_another_type_is_walked_too() -> None:
    layer = named(2, media_types.OCI_LAYER)
    handler = {1: [layer, named(2)], 2: [named(3)]}

    def ask(descriptor: Descriptor) -> Sequence[Descriptor]:
        is_layer = descriptor.media_type == media_types.OCI_LAYER
        return () if is_layer else handler.get(number(descriptor), [])

    assert [number(found) for found in walk(ask, named(1))] == [1, 2, 2, 3]


def test_a_skipped_descriptor_has_no_children() -> None:
    def skip(descriptor: Descriptor) -> Sequence[Descriptor]:
        if number(descriptor) == 2:
            raise SkipDescriptor
        return ()

    found = walk(chain(skip, tree(TREE)), named(1))
    assert [number(one) for one in found] == [1, 2, 3, 5, 6]


def test_stopped_handlers_keep_the_children_found_so_far() -> None:
    def more(descriptor: Descriptor) -> Sequence[Descriptor]:
        return [named(9)] if number(descriptor) == 2 else ()

    def stop(descriptor: Descriptor) -> Sequence[Descriptor]:
        if number(descriptor) == 2:
            raise StopHandlers
        return ()

    found = walk(chain(more, stop, tree(TREE)), named(1))
    assert [number(one) for one in found] == [1, 2, 9, 3, 5, 6]


@pytest.mark.parametrize("dispatch", [False, True])
def test_depth_is_bounded(dispatch: bool) -> None:
    asked = []

    def deeper(descriptor: Descriptor) -> Sequence[Descriptor]:
        asked.append(descriptor)
        return [named(number(descriptor) + 1)]

    with pytest.raises(InvalidArgument, match=f"more than {MAX_DEPTH} deep"):
        run(deeper, dispatch, named(1))
    assert len(asked) == MAX_DEPTH + 1


@pytest.mark.parametrize("dispatch", [False, True])
def test_breadth_is_bounded(dispatch: bool) -> None:
    many = [named(n) for n in range(2, MAX_DESCRIPTORS + 2)]

    def wide(descriptor: Descriptor) -> Sequence[Descriptor]:
        return many if number(descriptor) == 1 else ()

    with pytest.raises(ResourceExhausted, match=f"more than {MAX_DESCRIPTORS} descriptors"):
        run(wide, dispatch, named(1))


def run(handler: Handler, dispatch: bool, root: Descriptor) -> list[Descriptor]:
    if not dispatch:
        return list(walk(handler, root))
    with Dispatcher(handler, 2, Job()) as work:
        work.add(root)
        work.wait()
    return []


def test_documents_have_children_and_all_else_has_none() -> None:
    image = images.random_image([10, 20])
    index = images.index_of({"linux/amd64": image})
    found = walk(
        children_of(lambda descriptor: index.blobs[descriptor.digest]),
        Descriptor.from_json(index.manifest),
    )
    assert [one.digest for one in found] == [
        index.digest,
        image.digest,
        image.json()["config"]["digest"],
        *(layer["digest"] for layer in image.layers),
    ]


# ---- side by side ------------------------------------------------------------------------------


def collecting(children: Mapping[int, Sequence[int]]) -> tuple[Handler, list[int]]:
    seen: list[int] = []
    inner = tree(children)

    def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
        seen.append(number(descriptor))
        return list(inner(descriptor))

    return handle, seen


def test_side_by_side_each_comes_once_too() -> None:
    handler, seen = collecting(TREE)
    with Dispatcher(handler, 3, Job()) as work:
        first = work.add(named(1))
        work.wait()
        assert work.add(named(1)) is first
        work.wait()
    assert sorted(seen) == [1, 2, 3, 4, 5, 6]
    assert seen[0] == 1


def test_they_do_run_side_by_side() -> None:
    both = threading.Barrier(2)

    def meet(descriptor: Descriptor) -> Sequence[Descriptor]:
        if number(descriptor) == 1:
            return [named(2), named(3)]
        both.wait(5)
        return ()

    with Dispatcher(meet, 2, Job()) as work:
        work.add(named(1))
        work.wait()


def test_the_first_failure_stops_the_others_and_is_told() -> None:
    stopped = threading.Event()
    job = Job()

    def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
        if number(descriptor) == 1:
            return [named(2), named(3), named(4)]
        if number(descriptor) == 2:  # waits until the other has failed, and gives up
            assert job.stop.wait(5)
            stopped.set()
            job.check()
        raise LookupError(descriptor)

    def run() -> None:
        with Dispatcher(handle, 2, job) as work:
            work.add(named(1))
            work.wait()

    with pytest.raises(LookupError):
        run()
    assert stopped.is_set()
    assert isinstance(job.failure, LookupError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, LookupError, lambda: Cancelled("by hand")])
def test_leaving_the_block_stops_all(error: Callable[[], BaseException]) -> None:
    begun, job = threading.Event(), Job()
    handled = []

    def handle(descriptor: Descriptor) -> Sequence[Descriptor]:
        handled.append(descriptor)
        begun.set()
        assert job.stop.wait(5)
        return [named(number(descriptor) + 1)]

    expected = error()

    def run() -> None:
        with Dispatcher(handle, 1, job) as work:
            work.add(named(1))
            work.add(named(7))
            assert begun.wait(5)
            raise expected

    with pytest.raises(type(expected)):
        run()
    assert handled == [named(1)]


def test_a_skip_is_no_failure() -> None:
    def skip(descriptor: Descriptor) -> Sequence[Descriptor]:
        raise SkipDescriptor

    with Dispatcher(skip, 1, Job()) as work:
        work.add(named(1)).result()
        work.wait()


def test_quick_descriptors_are_handled_where_they_are_added() -> None:
    threads: dict[int, str] = {}

    def handle(descriptor: Descriptor) -> Iterable[Descriptor]:
        threads[number(descriptor)] = threading.current_thread().name
        return tree(TREE)(descriptor)

    with Dispatcher(handle, 3, Job(), lambda descriptor: number(descriptor) != 2) as work:
        assert work.add(named(1)).done()
        work.wait()
    assert threads.keys() == {1, 2, 3, 4, 5, 6}
    own = threading.current_thread().name
    assert threads[1] == threads[3] == threads[6] == own
    assert threads[2] == threads[4] != own


def test_a_quick_descriptor_that_fails_stops_the_others() -> None:
    def fail(descriptor: Descriptor) -> Sequence[Descriptor]:
        raise ResourceExhausted("too much")

    with Dispatcher(fail, 1, Job(), lambda descriptor: True) as work:
        failed = work.add(named(1))
        with pytest.raises(Cancelled):
            work.add(named(2))
        assert isinstance(failed.exception(), ResourceExhausted)
        with pytest.raises(ResourceExhausted, match="too much"):
            work.wait()


def test_an_interrupt_of_a_quick_descriptor_ends_the_block() -> None:
    def interrupt(descriptor: Descriptor) -> Sequence[Descriptor]:
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        Dispatcher(interrupt, 1, Job(), lambda descriptor: True) as work,
    ):
        work.add(named(1))
