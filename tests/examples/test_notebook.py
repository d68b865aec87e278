"""The notebook runs from its first cell to its last, and ends with the page."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="needs nbclient: pip install 'senet[dev]'")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install 'senet[dev]'")
pytest.importorskip("ipykernel", reason="needs ipykernel: pip install 'senet[dev]'")

NOTEBOOK = Path(__file__).parents[2] / "examples" / "explain.ipynb"


@pytest.mark.slow
def test_the_notebook_runs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=500, kernel_name="python3").execute()
    last = notebook.cells[-1].outputs[-1]
    assert last.data["text/html"].startswith("<iframe")
    assert "Grad-CAM" in last.data["text/html"]


def test_it_is_kept_without_results():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
