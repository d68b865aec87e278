"""Networks for inference only, which run without capturing or compiling anything."""

from __future__ import annotations

import copy
import inspect
import math
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from senet.fuse.agreement import require_agreement
from senet.fuse.early import put_gates_early
from senet.fuse.inputs import take_gates_of_inputs
from senet.fuse.norms import fold_norms
from senet.fuse.overwrite import overwrite_shortcuts
from senet.fuse.packed import pack_convolutions
from senet.fuse.rewrite import activated, mean_before, rewrite, scaled, squeezed
from senet.graph.apart import keeps_images_apart
from senet.graph.export import attribute, exported, guards_of, holds
from senet.graph.value import fixed, known, numbers, tensor_of
from senet.ops.activated import act_squeeze
from senet.ops.gate import gated_tail
from senet.ops.tail import norm_squeeze

# The size, in numbers, of the largest map of the images that run together. Their maps stay in the
# caches, and the allocator reuses smaller blocks: for a ResNet-50 at 224 pixels the fastest of the
# powers of two from 2^20 to 2^24.
PIECE = 1 << 22


@torch.inference_mode(False)  # tensors made in that mode do not count their changes
def for_inference(
    model: nn.Module,
    example: Tensor | None = None,
    *,
    dtype: torch.dtype | None = None,
    any_size: bool = True,
) -> Frozen:
    """Return a network that computes what ``model`` computes in evaluation, and faster.

    ``model`` is exported once. Norms are folded into convolutions, whose weights are packed, with
    additions and activations inside; a tail with an SE block is a single call that overwrites its
    map. Large batches run a few images at a time if images do not depend on each other. The result
    holds its own copy of the weights, and needs neither ``model`` nor a compiler. It does not write
    its input, even if ``model`` does. Where the code of ``model`` asks whether there is one image,
    it gets the answer no. A ReLU or ReLU6 inside a convolution of oneDNN makes a number of NaN, so
    that a NaN in an image or a weight may not reach the output.

    Args:
        model: a network of one tensor, ``[B, ...]``; it is not changed.
        example: an input. By default two images of the size that the network declares
            (``preprocessing``, or timm's ``default_cfg``), else of 224 pixels.
        dtype: the type to compute in, such as ``torch.bfloat16``; by default that of the weights.
            Inputs and outputs keep theirs.
        any_size: whether inputs may have other sizes than the example, as far as the network
            allows it; without it the export of some networks is much faster.

    Raises:
        ValueError: if the network needs several inputs, torch.export cannot follow it, or it does
            not accept the example, for which the result must compute what the network does.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> fast = for_inference(model)
        >>> x = torch.randn(5, 3, 32, 32)
        >>> torch.allclose(fast(x), model(x), atol=1e-5)
        True
    """
    if isinstance(model, Frozen):
        raise ValueError("the network was already made by for_inference")
    _require_one_input(model)
    if example is None:
        example = _example(model)
        try:
            return for_inference(model, example, dtype=dtype, any_size=any_size)
        except ValueError as error:
            raise ValueError(
                f"{error} (no example was given, and {list(example.shape)} was tried: if the "
                "network takes others, call for_inference(model, example))"
            ) from error
    if dtype is not None:
        model = copy.deepcopy(model).to(dtype)
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(()))
    if len(example) == 1:  # torch.export specialises sizes of 1
        example = torch.cat((example, example))
    # The conditions of an export on strides are those of a contiguous example.
    example = example.to(like.device, like.dtype).contiguous()
    gm = exported(model, example, any_size)
    x = next(tensor_of(node) for node in gm.graph.nodes if node.op == "placeholder")
    assert x is not None
    guards, apart = guards_of(gm), keeps_images_apart(gm.graph)
    largest = max(_numbers_an_image(node) for node in gm.graph.nodes)
    with torch.no_grad():
        fold_norms(gm)
        rewrite(gm)
        put_gates_early(gm)
        pack_convolutions(gm, take_gates_of_inputs(gm))
        overwrite_shortcuts(gm)
    made = Frozen(_own(gm), x, guards, largest if apart else 0, _argument(model))
    require_agreement(made, model, example)
    return made


class Frozen(nn.Module):
    """A network that :func:`for_inference` made.

    It is called like the original network, on batches of any size, from any number of threads; it
    can be copied, pickled and moved. It cannot be trained: it has buffers and no parameters.

    Attributes:
        graph: the calls.
        sizes: the sizes of an input; ``None`` where any size is possible.
        guards: the condition on these sizes.
        dtype: the type that it computes in.
        growth: the size of the largest map relative to the input; 0 if the images of a batch may
            depend on each other.
        argument: the name by which the original network takes its input.
    """

    def __init__(
        self, graph: fx.GraphModule, x: Tensor, guards: str, largest: float, argument: str
    ) -> None:
        super().__init__()
        self.graph = graph
        self.guards = guards
        self._fitting: set[torch.Size] = set()
        self.sizes = tuple(fixed(size) for size in x.shape)
        self.dtype = x.dtype
        self.growth = largest / (numbers(x) / known(x.shape[0]))
        self.argument = argument
        super().train(False)

    def forward(self, *given: Tensor, **named: Tensor) -> Any:
        """Return what the network returns for one input, given by position or by its name.

        Raises:
            TypeError: if there is not one input.
            ValueError: if it does not fit, or requires a gradient.
        """
        if len(given) + len(named) != 1 or not {self.argument}.issuperset(named):
            raise TypeError(f"the network takes one tensor, {self.argument!r}")
        (x,) = (*given, *named.values())
        self._check(x)
        with torch.no_grad():
            batch = x.to(self.dtype)
            if x.dim() == 4:
                batch = batch.contiguous(memory_format=torch.channels_last)
            pieces = [self.graph(piece) for piece in batch.tensor_split(self._pieces(x))]
            return tree_map(lambda y: self._returned(y, x), _joined(pieces))

    def train(self, mode: bool = True) -> Frozen:
        """Refuse to train.

        Raises:
            ValueError: if ``mode`` is true.
        """
        if mode:
            raise ValueError(
                "a network of for_inference cannot be trained: train the network that it was made "
                "of, and make it again"
            )
        return super().train(False)

    def _apply(self, fn: Any, recurse: bool = True) -> Frozen:
        with torch.inference_mode(False):  # as in for_inference
            super()._apply(fn, recurse)
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return self

    def _returned(self, y: Any, x: Tensor) -> Any:
        """Return an output of the type in which the network computes in the type of ``x``."""
        return y.to(x.dtype) if isinstance(y, Tensor) and y.dtype == self.dtype else y

    def _pieces(self, x: Tensor) -> int:
        """Return the number of pieces of about equal size into which to split the batch."""
        return max(math.ceil(self.growth * x.numel() / PIECE), 1) if self.growth else 1

    def _check(self, x: Tensor) -> None:
        if x.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                "a network of for_inference has no gradients: call it under torch.no_grad(), or "
                "take the network that it was made of"
            )
        if x.dtype not in (self.dtype, torch.float32):
            raise ValueError(f"expected an input of {self.dtype}, got {x.dtype}")
        if x.shape not in self._fitting:
            self._check_sizes(x)
            self._fitting.add(x.shape)

    def _check_sizes(self, x: Tensor) -> None:
        remedy = "give for_inference an example of this size"
        known = len(self.sizes) == x.dim() and all(
            size in (None, n) for size, n in zip(self.sizes, x.shape, strict=True)
        )
        if not known:
            wanted = ", ".join("any" if size is None else str(size) for size in self.sizes)
            raise ValueError(f"expected an input [{wanted}], got {list(x.shape)}: {remedy}")
        if not holds(self.guards, x.shape):
            raise ValueError(
                f"for an input {list(x.shape)} the network may do something else than for the "
                f"example that it was exported with: {remedy}"
            )


class _Tracer(fx.Tracer):
    """Keeps our functions as single calls when a pickled graph is traced again."""

    def __init__(self) -> None:
        ours = norm_squeeze, act_squeeze, scaled, activated, squeezed, mean_before, gated_tail
        super().__init__(autowrap_functions=ours)


def _require_one_input(model: nn.Module) -> None:
    """Check that ``model`` can be called with one tensor, and its forward be read."""
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            f"{type(model).__name__} is a ScriptModule, which torch.export does not take: call "
            "for_inference with the network that it was made of"
        )
    try:
        inspect.signature(model.forward).bind(None)
    except TypeError as error:
        raise ValueError(
            f"for_inference makes a network of one tensor, and {type(model).__name__} takes others "
            f"({error}): put it in a module whose forward takes one and makes the rest of it, or "
            "use senet.accelerate, which takes any network"
        ) from error


def _own(gm: fx.GraphModule) -> fx.GraphModule:
    """Return the graph with copies of the tensors that it reads, and nothing else."""
    gm.graph.eliminate_dead_code()
    root, names = nn.Module(), dict[str, str]()
    for node in gm.graph.nodes:
        node.meta = {}
        if node.op == "call_module":
            root.add_module(node.target, copy.deepcopy(gm.get_submodule(node.target)))
        elif node.op == "get_attr":
            name = names.setdefault(node.target, f"constant{len(names)}")
            root.register_buffer(name, attribute(gm, node.target).detach().clone())
            node.target = name
    gm.graph._tracer_cls = _Tracer
    return fx.GraphModule(root, gm.graph)


def _example(model: nn.Module) -> Tensor:
    """Return two images of the size that the network declares."""
    known: Any = getattr(model, "preprocessing", None)
    config: Any = getattr(model, "default_cfg", None) or getattr(model, "pretrained_cfg", None)
    if known is not None:
        sizes = known.channels, known.size, known.size
    elif config is not None and "input_size" in config:
        sizes = config["input_size"]
    else:
        convolutions = (m for m in model.modules() if isinstance(m, nn.Conv2d))
        sizes = next((conv.in_channels for conv in convolutions), 3), 224, 224
    return torch.rand(2, *sizes, generator=torch.Generator().manual_seed(0))


def _argument(model: nn.Module) -> str:
    """Return the name of the first argument of a network."""
    return next(iter(inspect.signature(model.forward).parameters), "x")


def _numbers_an_image(node: fx.Node) -> float:
    x = tensor_of(node)
    if x is None or not x.dim() or node.op == "get_attr":
        return 0
    return numbers(x) / max(known(x.shape[0]), 1)


def _joined(pieces: list[Any]) -> Any:
    """Join the outputs of several batches into those of one."""
    if len(pieces) == 1:
        return pieces[0]
    leaves, spec = zip(*(tree_flatten(piece) for piece in pieces), strict=True)
    return tree_unflatten([torch.cat(parts) for parts in zip(*leaves, strict=True)], spec[0])
