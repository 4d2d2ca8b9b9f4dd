"""A world in a process of another Python, whose packages may be other ones: `ProcessEnv`.

`env` and `interpreter` are this side, `start` and `child` the other; `wire` and `spaces` say what crosses. The other
side imports this package from here, by its path, and needs numpy and gymnasium besides what the world itself needs.
"""

from si_embodied.envs.process.env import ProcessEnv

__all__ = ["ProcessEnv"]
