"""A checkpoint as ONNX graphs, and running them: export needs torch, running needs onnxruntime and neither torch.

`graphs` and `export` write a directory; `manifest`, `layout`, `sessions` and `runner` read one.
"""
