"""Between live jax objects and trees: the only package of this plugin whose modules import jax.

arrays    jax arrays, and containers of them
models    what a Flax model expects, what it holds, and filling it
"""
