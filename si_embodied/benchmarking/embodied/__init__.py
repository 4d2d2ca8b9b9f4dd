"""EmbodiedBench's protocol on our worlds: its prompts, answers, actions, limits and metrics, run by `evaluation`.

EmbodiedBench: Yang et al., "EmbodiedBench: Comprehensive Benchmarking Multi-modal Large Language Models for
Vision-Driven Embodied Agents", 2025. Nothing of its code, prompts or data is in here.
"""
