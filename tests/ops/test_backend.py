"""The choice of the backend."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import torch

from senet.ops import backend


def test_the_mark_is_that_of_pytorch():
    marked = torch.compiler.assume_constant_result(lambda name: "")
    assert vars(backend.missing) == vars(marked)


def test_backends_are_explained_without_the_compiler():
    code = (
        "import sys; from senet.ops import backend; backend.explain()\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_backend_that_is_left_before_a_later_one_is_gone():
    def chosen():
        return backend.explain().splitlines()[3:]

    before = chosen()
    eager, auto = backend.use("eager"), backend.use("auto")
    eager.__enter__()
    assert chosen() == ["forced: eager"]
    auto.__enter__()
    assert chosen() == []
    eager.__exit__(None, None, None)
    assert chosen() == []
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(chosen).result() == before
    auto.__exit__(None, None, None)
    assert chosen() == before


def test_another_thread_does_not_see_a_forced_backend(monkeypatch):
    monkeypatch.setattr(backend, "_ASKED", "auto")
    with ThreadPoolExecutor(1) as pool:
        before = pool.submit(backend.explain).result()
        with backend.use("eager"):
            assert pool.submit(backend.explain).result() == before
            assert backend.explain() != before
