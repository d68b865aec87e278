"""Run the examples in the docstrings of benchmarks/evidence, benchmarks/gpu and the ledger."""

import doctest
import importlib
import pkgutil

import pytest

from benchmarks import evidence, gpu

MODULES = [
    "benchmarks.ledger",
    *(
        f"{package.__name__}.{module.name}"
        for package in (evidence, gpu)
        for module in pkgutil.iter_modules(package.__path__)
        if module.name != "__main__"
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_say_what_is(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    module = importlib.import_module("benchmarks.ledger")
    assert doctest.testmod(module).attempted > 3
