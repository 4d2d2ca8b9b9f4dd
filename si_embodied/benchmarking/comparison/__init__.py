"""Whether two models decide the same: both are shown the same observations, and play the same episodes.

Not here: how well a model does (`evaluation/`), and what its plans cost (`benchmarking/latency/`).
"""
