"""Between live torch objects and trees: the only package of this plugin whose modules import torch.

arrays    tensors, and containers of them
models    what a module expects, what it holds, and filling it
"""
