"""Networks of other libraries by their names, in a process that has prepared nothing."""

import subprocess
import sys

import pytest

from benchmarks.reference_libraries import PLACE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:seresnet18", "torchvision:mobilenet_v3_small"])
def test_networks_of_others_are_found_without_torchvisions_compiled_operators(world, name):
    code = f"import sys; sys.path.append({str(PLACE)!r});"
    code += f"from senet.foreign import find_network; print(find_network({name!r})[1])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "224"
