"""Recurrent layers: torch keeps the gates of a layer in one matrix, one after another, and two biases.

A torch layer of several levels or directions is a Flax cell for each; a row is for one: `weight_ih_l0`, or
`weight_ih_l0_reverse` for the way back, or `weight_ih` of a torch cell. The names here are without that ending.
"""

from __future__ import annotations

from ckpt_core.layers import Layer, line

__all__ = ["ROWS"]

_ZERO = "constant(0.0)"
_CONVENTION = "Flax has one bias where torch adds two: a sum, and on the way back the first gets all of it."


def _gates(names: str, part: str) -> str:
    return " ".join(f"{name}/{part}" for name in names.split())


def _lstm(name: str, flax: tuple[str, ...], inputs: str, hidden: str) -> Layer:
    return Layer(
        name,
        ("LSTM", "LSTMCell"),
        flax,
        (
            line(f"weight_ih -> {_gates(inputs, 'kernel')}", "split(axis=0, parts=4)", "transpose"),
            line(f"weight_hh -> {_gates(hidden, 'kernel')}", "split(axis=0, parts=4)", "transpose"),
            line(f"bias_ih bias_hh -> {_gates(hidden, 'bias')}", "sum(sizes=[2])", "split(axis=0, parts=4)"),
            line(f"-> {_gates(hidden, 'bias')}", _ZERO, without="bias_ih"),
        ),
        note=(
            "The gates are i, f, g, o in this order.",
            _CONVENTION,
            "proj_size has no counterpart in Flax.",
        ),
    )


ROWS = (
    _lstm("lstm", ("nn.LSTMCell", "nn.OptimizedLSTMCell"), "ii if ig io", "hi hf hg ho"),
    _lstm("lstm, nnx", ("nnx.LSTMCell",), "ii if_ ig io", "hi hf hg ho"),
    Layer(
        "lstm, nnx, optimized",
        ("LSTM", "LSTMCell"),
        ("nnx.OptimizedLSTMCell",),
        (
            line("weight_ih -> dense_i/kernel", "transpose"),
            line("weight_hh -> dense_h/kernel", "transpose"),
            line("bias_ih bias_hh -> dense_h/bias", "sum(sizes=[2])"),
            line("-> dense_h/bias", _ZERO, without="bias_ih"),
        ),
        note=("The gates are i, f, g, o in both.", _CONVENTION),
    ),
    Layer(
        "gru",
        ("GRU", "GRUCell"),
        ("nn.GRUCell",),
        (
            line(f"weight_ih -> {_gates('ir iz in', 'kernel')}", "split(axis=0, parts=3)", "transpose"),
            line(f"weight_hh -> {_gates('hr hz hn', 'kernel')}", "split(axis=0, parts=3)", "transpose"),
            line(
                f"bias_ih bias_hh -> {_gates('ir iz in hn', 'bias')}",
                "split(axis=0, parts=3)",
                "arrange(0, 3, 1, 4, 2, 5)",
                "sum(sizes=[2, 2, 1, 1])",
            ),
            line(f"-> {_gates('ir iz in hn', 'bias')}", _ZERO, without="bias_ih"),
        ),
        note=(
            "The gates are r, z, n in this order.",
            "The biases of r and z are summed; those of n stay apart, because r scales the hidden one.",
        ),
    ),
    Layer(
        "gru, nnx",
        ("GRU", "GRUCell"),
        ("nnx.GRUCell",),
        (
            line("weight_ih -> dense_i/kernel", "transpose"),
            line("weight_hh -> dense_h/kernel", "transpose"),
            line("-> dense_i/bias", _ZERO, without="bias_ih"),
        ),
        note=(
            "nnx.GRUCell has no hidden bias, which torch scales by r: torch's biases have no exact place in it.",
            "linen's GRUCell has one.",
        ),
    ),
    Layer(
        "rnn",
        ("RNN", "RNNCell"),
        ("nn.SimpleCell",),
        (
            line("weight_ih -> i/kernel", "transpose"),
            line("weight_hh -> h/kernel", "transpose"),
            line("bias_ih bias_hh -> i/bias", "sum(sizes=[2])"),
            line("-> i/bias", _ZERO, without="bias_ih"),
        ),
        note=(_CONVENTION, "nonlinearity='relu' is activation_fn=nn.relu."),
    ),
    Layer(
        "rnn, nnx",
        ("RNN", "RNNCell"),
        ("nnx.SimpleCell",),
        (
            line("weight_ih -> dense_i/kernel", "transpose"),
            line("weight_hh -> dense_h/kernel", "transpose"),
            line("bias_ih bias_hh -> dense_i/bias", "sum(sizes=[2])"),
            line("-> dense_i/bias", _ZERO, without="bias_ih"),
        ),
        note=(_CONVENTION,),
    ),
)
