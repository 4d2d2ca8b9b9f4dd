"""Exports a checkpoint to ONNX graphs, and runs them. The export needs torch; running needs only onnxruntime.

`graphs`, `operators`, `export` and `quantize` write a directory; `layout`, `sessions` and `runner` run one.
"""
