"""What watchdog and planners know of each other: who is active, who may act, who has fallen silent. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from si_embodied.errors import MessageError

_MOST_PLANNERS = 20
_STATES = ("active", "inactive")
_LONGEST = 400
NOBODY = "nobody"
"""Said instead of a planner's id while the watchdog stops the robot."""
DISCOVERY_S = 4.0
"""A planner that has just started looks for a watchdog for this long. Fast DDS announces a process every 3 s; on a busy
machine the announcements at its start may be lost."""
LISTENS_S = 4.0
"""A watchdog that has just started listens to planners for this long."""


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
    """The watchdog's view of the planners. Times are of the steady clock, in seconds."""

    timeout_s: float  # without a heartbeat for this long, an active planner is lost
    started_s: float  # when the watchdog began to listen
    chosen: str = ""  # id of the planner that may act: the first one heard; empty: none is active
    lost: str = ""  # name of the planner that fell silent while active; empty once one is active again
    losses: int = 0
    _heard: bool = False  # any heartbeat
    _names: dict[str, str] = field(default_factory=dict)  # of the active planners, by id
    _heard_s: dict[str, float] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        """Names of the active planners by their ids, in the order in which they appeared."""
        return dict(self._names)

    def hear(self, beat: Beat, now_s: float) -> None:
        """Take a heartbeat."""
        self._heard = True
        if not beat.active:
            self._forget(beat.planner)
            return
        if beat.planner not in self._names and len(self._names) >= _MOST_PLANNERS:
            return
        self._names[beat.planner], self._heard_s[beat.planner] = beat.name, now_s
        self.lost = ""
        self.chosen = self.chosen or beat.planner

    def check(self, now_s: float) -> str:
        """Why the robot must be stopped now; empty if it must not.

        The planner that may act has fallen silent since the last call, or none was heard since the watchdog started:
        one may have died before, while the robot drove.
        """
        if not self._heard and now_s - self.started_s > LISTENS_S:
            self._heard = True
            return f"no planner was heard in {LISTENS_S:.1f} s since the watchdog started: one may have died before"
        silent = [planner for planner, heard_s in self._heard_s.items() if now_s - heard_s > self.timeout_s]
        acted = self.chosen in silent
        if acted:
            self.lost, self.losses = self._names[self.chosen], self.losses + 1
        for planner in silent:
            self._forget(planner)
        return f"no heartbeat of {self.lost} for {self.timeout_s:.1f} s" if acted else ""

    def _forget(self, planner: str) -> None:
        self._names.pop(planner, None)
        self._heard_s.pop(planner, None)
        if planner == self.chosen:
            self.chosen = next(iter(self._names), "")


@dataclass(slots=True)
class Permission:
    """A planner's view of the watchdog, which may let it act. Times are of the steady clock, in seconds."""

    planner: str  # its id
    started_s: float  # when it could begin to find a watchdog
    chosen: str = ""  # what the watchdog said last: an id, `NOBODY`, or nothing
    watched: bool = False  # whether there was a watchdog at the last look
    unprotected: bool = False  # whether there was none, in more time than it takes to find one: it acts without

    def look(self, *, watched: bool, now_s: float) -> None:
        """Take in whether there is a watchdog now. What one that is gone has said is void."""
        if self.watched and not watched:
            self.chosen = ""
        self.watched = watched
        self.unprotected = not watched and now_s - self.started_s > DISCOVERY_S

    @property
    def displaced(self) -> bool:
        """Whether another planner acts on this robot."""
        return self.chosen not in ("", NOBODY, self.planner)

    @property
    def refusal(self) -> str:
        """Why this planner may not act; empty if it may."""
        if self.chosen == NOBODY:
            return "the watchdog is stopping the robot, because no planner's heartbeat was heard"
        if not self.displaced:
            return ""
        return f"another planner ({self.chosen}) acts on this robot, this one is {self.planner}; stop one of the two"

    @property
    def granted(self) -> bool:
        """Whether a goal may start: the watchdog has named this planner, and so stops the robot if it dies."""
        return self.chosen == self.planner or (self.unprotected and not self.chosen)

    @property
    def words(self) -> str:
        """The state, for the diagnostics."""
        if self.unprotected:
            return "none: nobody stops the robot if this planner dies; run watchdog_node"
        if not self.watched:
            return "not found yet"
        return self.refusal or ("watches this planner" if self.granted else "has not heard this planner yet")
