"""Runs in lerobot's own environment: reads a data set with its loader, and writes what it gave to a file.

Arguments: the data set's folder, the video backend, the .npz file to write.
"""

from __future__ import annotations

import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main(folder: str, backend: str, out: str) -> None:
    dataset = LeRobotDataset("local/recorded", root=folder, video_backend=backend)
    items = [dataset[number] for number in range(len(dataset))]
    columns = {}
    for name in items[0]:
        values = [item[name] for item in items]
        columns[name] = np.array(values) if isinstance(values[0], str) else np.stack([each.numpy() for each in values])
    columns["fps"], columns["episodes"] = np.array(dataset.fps), np.array(dataset.num_episodes)
    # What a policy that predicts chunks of actions asks for.
    chunks = LeRobotDataset(
        "local/recorded", root=folder, video_backend=backend, delta_timestamps={"action": [0.0, 1 / dataset.fps]}
    )
    columns["chunk"] = np.stack([chunks[number]["action"].numpy() for number in range(len(chunks))])
    only = LeRobotDataset("local/recorded", root=folder, video_backend=backend, episodes=[1])
    columns["only_second"] = np.stack([only[number]["observation.state"].numpy() for number in range(len(only))])
    for name, statistics in dataset.meta.stats.items():
        for key, value in statistics.items():
            columns[f"stats {name} {key}"] = value
    np.savez(out, **columns)


if __name__ == "__main__":
    main(*sys.argv[1:])
