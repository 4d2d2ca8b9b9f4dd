"""The planners that the watchdog knows: which are active, which one may act, which has fallen silent. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from si_embodied.errors import MessageError

_MOST_PLANNERS = 20
_STATES = ("active", "inactive")
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat says, in the `frame_id` of its std_msgs/Header: "ID NAME STATE"."""

    planner: str  # a random id: two planners may have one name
    name: str  # the node's fully qualified name
    active: bool

    def text(self) -> str:
        """The message's text."""
        return f"{self.planner} {self.name} {_STATES[not self.active]}"

    @classmethod
    def parsed(cls, text: str) -> Beat:
        """Read a message's text.

        Raises:
            MessageError: it is not a heartbeat.
        """
        parts = text.split() if len(text) <= _LONGEST else []
        if len(parts) != 3 or parts[2] not in _STATES:
            raise MessageError(f"expected a heartbeat 'ID NAME active' or '… inactive', got: {text[:80]!r}")
        return cls(parts[0], parts[1], parts[2] == "active")


@dataclass(slots=True)
class PlannerWatch:
    """Times are of the steady clock, in seconds."""

    timeout_s: float  # without a heartbeat for this long, an active planner is lost
    chosen: str = ""  # id of the planner that may act: the first one heard; empty: none is active
    lost: str = ""  # name of the planner that fell silent while active; empty once one is active again
    losses: int = 0
    _names: dict[str, str] = field(default_factory=dict)  # of the active planners, by id
    _heard_s: dict[str, float] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        """Names of the active planners by their ids, in the order in which they appeared."""
        return dict(self._names)

    def hear(self, beat: Beat, now_s: float) -> None:
        """Take a heartbeat."""
        if not beat.active:
            self._forget(beat.planner)
            return
        if beat.planner not in self._names and len(self._names) >= _MOST_PLANNERS:
            return
        self._names[beat.planner], self._heard_s[beat.planner] = beat.name, now_s
        self.lost = ""
        self.chosen = self.chosen or beat.planner

    def check(self, now_s: float) -> bool:
        """Whether the planner that may act has fallen silent since the last call: the robot must be stopped now."""
        silent = [planner for planner, heard_s in self._heard_s.items() if now_s - heard_s > self.timeout_s]
        acted = self.chosen in silent
        if acted:
            self.lost, self.losses = self._names[self.chosen], self.losses + 1
        for planner in silent:
            self._forget(planner)
        return acted

    def _forget(self, planner: str) -> None:
        self._names.pop(planner, None)
        self._heard_s.pop(planner, None)
        if planner == self.chosen:
            self.chosen = next(iter(self._names), "")
