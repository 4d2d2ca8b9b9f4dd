"""Other packages' skills, prompts, policies, backends and worlds, found by their entry points.

A package names a function of its own in its pyproject.toml, which registers what it brings:

    [project.entry-points."si_embodied.plugins"]
    my_lab = "my_lab.robots:register"
"""

from __future__ import annotations

import functools
from importlib.metadata import entry_points

from si_embodied.errors import ConfigError

GROUP = "si_embodied.plugins"


@functools.cache
def load_plugins() -> tuple[str, ...]:
    """Call every installed plugin's function, once a process; returns their names. Commands and nodes do it at start.

    Raises:
        ConfigError: a plugin cannot be imported or fails; the message names it.
    """
    names = []
    for plugin in entry_points(group=GROUP):
        try:
            plugin.load()()
        except Exception as error:
            raise ConfigError(
                f"plugin {plugin.name!r} ({plugin.value}) failed: {type(error).__name__}: {error}; fix or uninstall it"
            ) from error
        names.append(plugin.name)
    return tuple(names)
