"""BAGEL's understanding branch: configuration, image processor and network, without its branch that generates images.

transformers has no BAGEL, but all of its parts: Qwen3's decoder and SigLIP's encoder. `network` alone needs torch.
"""
