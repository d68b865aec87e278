"""Run the examples in the docstrings of benchmarks/gpu and of the ledger."""

import doctest
import importlib
import pkgutil

import pytest

from benchmarks import gpu

STAGES = [m.name for m in pkgutil.iter_modules(gpu.__path__) if m.name != "__main__"]
MODULES = ["benchmarks.ledger", *(f"benchmarks.gpu.{name}" for name in STAGES)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_say_what_is(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    module = importlib.import_module("benchmarks.ledger")
    assert doctest.testmod(module).attempted > 3
