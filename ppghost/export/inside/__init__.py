"""What runs inside isolated environments that have no ppghost, for exports.

A file here imports the standard library, NumPy, what its environment holds, and its neighbours as `from .`;
`ppghost.export.onnx` starts it.

House: nothing of the package imports these modules but their tests.
"""
