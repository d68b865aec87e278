"""The model card: the page of a network in a repository of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from senet.models.describe.cost import parameters
from senet.models.network import Network
from senet.models.weights.record import Record

_HEADER = """\
---
library_name: senet
pipeline_tag: image-classification
tags:
- image-classification
- squeeze-and-excitation
- pytorch
---
"""

_LOADING = """\
```python
import torch
from senet.models import from_pretrained

model = from_pretrained("{repository}")
image = torch.rand(1, {channels}, {size}, {size})  # values in 0 … 1, resized and cropped as above
mean = torch.tensor(model.preprocessing.mean).view(-1, 1, 1)
std = torch.tensor(model.preprocessing.std).view(-1, 1, 1)
probabilities = model((image - mean) / std).softmax(1)
```

`senet predict model.safetensors IMAGE...` does all of this on image files.
"""


def card(model: Network, record: Record, repository: str = "OWNER/NAME") -> str:
    """Return the card in Markdown: architecture, preprocessing, metrics, classes, how to load it.

    Example:
        >>> from senet import create_model
        >>> model = create_model("se_resnet20_cifar", num_classes=2)
        >>> print(card(model, Record.of(model, {"test_accuracy": 0.91})).splitlines()[9])
        # se_resnet20_cifar
    """
    return _HEADER + "\n" + "\n".join(_sections(model, record, repository))


def _sections(model: Network, record: Record, repository: str) -> Iterator[str]:
    architecture, preprocessing = record.architecture, record.preprocessing
    options = ", ".join(f"`{key}={value!r}`" for key, value in architecture.options.items())
    total, attention = parameters(model)
    yield f"# {architecture.name}\n"
    yield "An image classifier of senet, squeeze-and-excitation networks for PyTorch.\n"
    yield _table(
        ("architecture", f"`{architecture.name}`{options and ', with '}{options}"),
        ("parameters", f"{total:,}, of which {attention:,} in blocks of attention"),
        ("input", f"{architecture.in_channels} × {preprocessing.size} × {preprocessing.size}"),
        ("resizing", f"{preprocessing.interpolation}, the crop keeps {preprocessing.crop:g}"),
        ("mean", _numbers(preprocessing.mean)),
        ("standard deviation", _numbers(preprocessing.std)),
        ("classes", f"{architecture.num_classes}: {_some(record.classes)}"),
        *((name, f"{value:.4g}") for name, value in record.metrics.items()),
    )
    yield "\n## How to load it\n"
    yield _LOADING.format(
        repository=repository, channels=architecture.in_channels, size=preprocessing.size
    )


def _table(*rows: tuple[str, str]) -> str:
    lines = [f"| {name} | {value.replace('|', chr(92) + '|')} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _some(classes: Sequence[str], most: int = 10) -> str:
    return ", ".join(classes[:most]) + (", …" if len(classes) > most else "")
