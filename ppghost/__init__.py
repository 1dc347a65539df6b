"""ppghost: GhostNet for PaddlePaddle."""

__version__ = "0.1.0"
