"""The examples in the docstrings of benchmarks/gpu are run."""

import doctest
import importlib
import pkgutil

import pytest

from benchmarks import gpu

MODULES = [m.name for m in pkgutil.iter_modules(gpu.__path__) if m.name != "__main__"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_say_what_is(name):
    module = importlib.import_module(f"benchmarks.gpu.{name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    module = importlib.import_module("benchmarks.gpu.ledger")
    assert doctest.testmod(module).attempted > 3
