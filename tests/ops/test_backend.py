"""Which backend runs: what is asked of it before anything is computed."""

import subprocess
import sys

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
