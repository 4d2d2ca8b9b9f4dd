"""MuJoCo: choosing a renderer, posed RGB-D and segmentation, and the Fetch robot at its table."""
