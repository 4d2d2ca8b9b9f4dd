"""An environment in a process of another Python with other packages: `ProcessEnv`.

`env` and `interpreter` run in the parent, `start` and `child` in the child; `wire` and `spaces` define the messages.
The child imports this package by its path, and needs numpy and gymnasium besides what the environment needs.
"""

from si_embodied.envs.process.env import ProcessEnv

__all__ = ["ProcessEnv"]
