"""The errors of a forward pass: a layer met an array of another size than its own (torch 2.1 to 2.13, jax, numpy)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from ckpt_core.validation.explaining.facts import FileFault, Sizes, Weights

__all__ = ["parse"]


def parse(text: str) -> Sizes | FileFault | None:
    """Return what an error text of a forward pass says, or None where it is none that is known."""
    for error, pattern, read in _SIZES:
        match = pattern.search(text)
        found = read(error, match) if match is not None else None
        if found is not None:
            return found
    return next((fault for pattern, fault in _FAULTS if pattern.search(text)), None)


# How the sizes are read from a match.


def _plain(error: str, match: re.Match[str]) -> Sizes:
    """Two sizes, and which of them is the layer's."""
    return Sizes(error, int(match["given"]), int(match["wanted"]))


def _either(error: str, match: re.Match[str]) -> Sizes:
    """Two sizes, of which either may be the layer's."""
    return Sizes(error, int(match["given"]), int(match["wanted"]), is_sided=False)


def _product(error: str, match: re.Match[str]) -> Sizes:
    given, wanted, out = (int(match[name]) for name in ("given", "wanted", "out"))
    # torch keeps the matrix of a Linear the other way round than it multiplies by it.
    return Sizes(error, given, wanted, (Weights((out, wanted), 1), Weights((wanted, out), 0)))


def _vector(error: str, match: re.Match[str]) -> Sizes:
    given, wanted = int(match["given"]), int(match["wanted"])
    return Sizes(error, given, wanted, (Weights((wanted,), 0),))


def _convolution(error: str, match: re.Match[str]) -> Sizes:
    given, wanted = int(match["given"]), int(match["wanted"])
    axis = 0 if match["kind"] == "transposed" else 1
    return Sizes(error, given, wanted, (Weights(_numbers(match["weight"]), axis),))


def _last_axes(error: str, match: re.Match[str]) -> Sizes | None:
    """The shape of the weights, and that of an input whose last axes should be the same."""
    weight, data = _numbers(match["weight"]), _numbers(match["data"])
    pairs = list(zip(weight, data[-len(weight) :], strict=False))
    axis = next((axis for axis, (wanted, given) in enumerate(pairs) if wanted != given), None)
    return None if axis is None else Sizes(error, pairs[axis][1], weight[axis], (Weights(weight, axis),))


def _channels(error: str, match: re.Match[str]) -> Sizes | None:
    weight, data = _numbers(match["weight"]), _numbers(match["data"])
    if len(weight) != 1 or len(data) < 2 or weight[0] == data[1]:
        return None
    return Sizes(error, data[1], weight[0], (Weights(weight, 0),))


def _broadcast(error: str, match: re.Match[str]) -> Sizes | None:
    """Two shapes that are compared from their last axis on, where 1 goes with everything."""
    first, second = _numbers(match["first"]), _numbers(match["second"])
    for given, wanted in zip(reversed(first), reversed(second), strict=False):
        if given != wanted and 1 not in (given, wanted):
            return Sizes(error, given, wanted, is_sided=False)
    return None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(",") if size.strip())


def _row(
    error: str, pattern: str, read: Callable[[str, re.Match[str]], Sizes | None]
) -> tuple[str, re.Pattern[str], Callable[[str, re.Match[str]], Sizes | None]]:
    for name in ("weight", "data", "first", "second"):
        pattern = pattern.replace(f"<{name}>", rf"[\[(](?P<{name}>[\d, ]*)[\])]")
    for name in ("given", "wanted", "out"):
        pattern = pattern.replace(f"<{name}>", rf"(?P<{name}>\d+)")
    return error, re.compile(pattern, re.DOTALL), read


# In the patterns <given> stands for a size, <data> for a shape.
_SIZES: Final = (
    _row(
        "torch: a matrix product",
        r"mat1 and mat2 shapes cannot be multiplied \(\d+x<given> and <wanted>x<out>\)",
        _product,
    ),
    _row(
        "torch: a convolution",
        r"Given (?P<kind>groups|transposed)=\d+, weight of size <weight>, expected input\[[\d, ]*\] to have <wanted> "
        r"channels, but got <given> channels",
        _convolution,
    ),
    _row(
        "torch: a normalisation",
        r"(?:running_mean|running_var|weight|bias) should contain <given> elements not <wanted>",
        _vector,
    ),
    _row(
        "torch: a normalisation",
        r"Given normalized_shape=<weight>, expected input with shape .*?, but got input of size<data>",
        _last_axes,
    ),
    _row(
        "torch: a normalisation",
        r"number of channels in input, but got weight of shape <weight> and input of shape <data>",
        _channels,
    ),
    _row(
        "torch: a recurrent layer",
        r"input\.size\(-1\) must be equal to input_size\. Expected <wanted>, got <given>",
        _plain,
    ),
    _row("torch: attention", r"was expecting embedding dimension of <wanted>, but got <given>", _plain),
    _row("nnx: a layer", r"Incompatible input dimension, got <given> but module expects <wanted>", _plain),
    _row(
        "torch: two tensors",
        r"The size of tensor a \(<given>\) must match the size of tensor b \(<wanted>\)",
        _either,
    ),
    _row(
        "torch: two tensors",
        r"expanded size of the tensor \(<given>\) must match the existing size \(<wanted>\)",
        _either,
    ),
    _row(
        "torch: a sum of products",
        r"subscript \w+ has size <wanted> for operand \d+ which does not broadcast with previously seen size <given>",
        _either,
    ),
    _row(
        "jax: a product",
        r"dot_general requires contracting dimensions to have the same shape, got \(<given>,\) and \(<wanted>,\)",
        _either,
    ),
    _row(
        "jax: a sum of products",
        r"Size of label '\w+' for operand \d+ \(<given>\) does not match previous terms \(<wanted>\)",
        _either,
    ),
    _row(
        "jax: a convolution",
        r"lhs feature dimension size divided by feature_group_count must equal the rhs input feature dimension size, "
        r"but <given> // \d+ != <wanted>",
        _plain,
    ),
    _row(
        "jax: two arrays",
        r"ncompatible shapes for broadcasting: (?:shapes=\[)?<first>, <second>",
        _broadcast,
    ),
    _row(
        "jax: two arrays",
        r"cannot reshape array of shape \(<wanted>,\) \(size \d+\) into shape [\[(](?:1, ?)+<given>[\])]",
        _either,
    ),
    _row(
        "numpy: two arrays",
        r"operands could not be broadcast together with shapes <first> <second>",
        _broadcast,
    ),
    _row(
        "numpy: a product",
        r"matmul: Input operand 1 has a mismatch in its core dimension .*?\(size <wanted> is different from <given>\)",
        _either,
    ),
)

_MOVE: Final = (
    "restore(..., device=DEVICE) and data.to(DEVICE): the model and what it is given, in one place",
)
_FAULTS: Final = (
    (
        re.compile(r"index out of range in self|srcIndex < srcSelectDimSize"),
        FileFault(
            "torch: an embedding",
            "an index is not below the number of rows of a table: the data has more words, classes or positions "
            "than the model was made for",
            ("ckpt inspect {quoted} says how many rows each table has",),
        ),
    ),
    (
        re.compile(
            r"must have the same dtype, but got|expected scalar type \w+ but found \w+|"
            r"Input type \(.*?\) and (?:weight|bias) type \(.*?(?<!Tensor)\) should be the same"
        ),
        FileFault(
            "torch: another dtype",
            "the weights are of one dtype, and the data of another",
            (
                "data.to(next(model.parameters()).dtype), or model.float()",
                "restore(..., dtypes='cast') keeps the dtypes of the model, whatever those of the file",
            ),
        ),
    ),
    (
        re.compile(
            r"Expected all tensors to be on the same device|is not on the expected device|"
            r"Input type \(.*?Tensor\) and (?:weight|bias) type \(.*?Tensor\) should be the same"
        ),
        FileFault("torch: another device", "the weights are on one device, and the data on another", _MOVE),
    ),
)
