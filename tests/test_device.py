import pytest
import torch

from senet.device import find_device


def test_devices():
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("gpu", "cuda:99"):
        with pytest.raises(ValueError, match=f"device='{name}' is not available here"):
            find_device(name)
