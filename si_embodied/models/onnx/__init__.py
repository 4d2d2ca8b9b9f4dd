"""Exports a checkpoint to ONNX graphs, and runs them. The export needs torch; running needs onnxruntime, but no torch.

`graphs`, `operators`, `export` and `quantize` write a directory; `layout`, `sessions` and `runner` run one.
"""
