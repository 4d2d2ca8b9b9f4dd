"""An episode that a person plays: instructions typed on a page, steering by hand, questions, demonstrations.

`session` owns the world and runs in a thread of its own; `wheel` lets the person answer in the model's place, so that
everything that happens is a plan with its record; `scenes` knows what can be asked for and moved in each world; `app`
is the page's commands. What the page shows is `si_embodied.live`'s.
"""
