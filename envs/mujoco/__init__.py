"""What is about MuJoCo and about no single world: choosing a renderer, posed RGB-D, segmentation."""
