"""What a model's plans cost on this machine: time, memory and energy, by kind of plan.

Not here: whether the plans are good (`evaluation/`), and the ratios to other engines (`benchmarks/`).
"""
