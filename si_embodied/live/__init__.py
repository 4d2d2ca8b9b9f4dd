"""A local page that shows a run while it goes on: images, plan, map, prompt, latency, holds and success so far.

`frame` and `drawing` turn what a policy knows into one value; `folder` and `board` carry the latest one to `app`, which
serves it to browsers that have the key. Nothing here acts on a robot or a world: that is `si_embodied.play`.
"""
