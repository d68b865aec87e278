"""Fixtures of the tests of operations."""

import pytest


@pytest.fixture(params=["avx512", "avx2", "baseline"])
def instruction_set(request):
    """The C library, made to use each of its instruction sets in turn."""
    native = pytest.importorskip("senet.ops.native", exc_type=ImportError)
    if native._c.senet_instruction_set(request.param.encode()) is None:
        pytest.skip(f"this machine has no {request.param}")
    yield request.param
    native._c.senet_instruction_set(None)
