"""The frame of a captured graph has room for the calls that it makes."""

import resource

import pytest

from senet.fuse.frame import with_room

CALLS = 200


def faults(function, depth):
    """Return the page faults of ``function``, called below ``depth`` other frames."""
    if depth:
        return faults(function, depth - 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    function()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def many_calls():
    for _ in range(CALLS):
        (lambda a, b, c, d: None)(1, 2, 3, 4)


def test_no_call_fetches_memory_for_its_frame():
    depths = range(300)
    if max(faults(many_calls, depth) for depth in depths) < CALLS:
        pytest.skip("this Python keeps the memory of its frames")
    roomy = with_room(many_calls)
    assert max(faults(roomy, depth) for depth in depths) < CALLS / 2
