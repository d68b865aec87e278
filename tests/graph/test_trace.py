"""Modules without a graph of calls, and their errors."""

import pytest
import torch

from senet.graph.trace import UntraceableError, trace
from tests.fuse.blocks import Block


def test_a_script_module_has_no_graph():
    with pytest.raises(UntraceableError, match="ScriptModule"):
        trace(torch.jit.trace(Block().eval(), torch.randn(1, 16, 5, 5)))
