"""What watchdog and planners know of each other: who is active, who may act, who has fallen silent. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from si_embodied.errors import MessageError

_MOST_PLANNERS = 20
_STATES = ("inactive", "active", "acting")
_STOPPED = "stopped"
_LONGEST = 400
NOBODY = "nobody"
"""Said instead of a planner's id while the watchdog stops the robot."""
DISCOVERY_S = 4.0
"""A planner that has just started looks for a watchdog for this long. Fast DDS announces a process every 3 s; on a busy
machine the announcements at its start may be lost."""
LISTENS_S = 4.0
"""A watchdog that has just started listens to planners for this long."""
SETTLES_S = 0.5
"""From the first heartbeat on, it waits this long for others before it names a planner that is not acting."""
SAYS_S, STALE_S = 0.5, 1.5
"""How often the watchdog repeats which planner may act, and after what time without that no goal starts."""
_RELEASED_S = 0.5
"""Heartbeats this soon after a release may be from before it."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat says, in the `frame_id` of its std_msgs/Header: "ID NAME STATE", or "ID NAME STATE stopped"."""

    planner: str  # a random id: two planners may have one name
    name: str  # the node's fully qualified name
    active: bool
    acting: bool = False  # active, and a task is under way or the robot may still move
    stopped: bool = False  # it knows of an emergency stop

    def text(self) -> str:
        """The message's text."""
        state = _STATES[self.active + (self.active and self.acting)]
        return f"{self.planner} {self.name} {state}{f' {_STOPPED}' if self.stopped else ''}"

    @classmethod
    def parsed(cls, text: str) -> Beat:
        """Read a message's text.

        Raises:
            MessageError: it is not a heartbeat.
        """
        parts = text.split() if len(text) <= _LONGEST else []
        if len(parts) < 3 or parts[2] not in _STATES or parts[3:] not in ([], [_STOPPED]):
            raise MessageError(
                f"expected a heartbeat 'ID NAME active', '… acting' or '… inactive', and perhaps '{_STOPPED}', "
                f"got: {text[:80]!r}"
            )
        state = _STATES.index(parts[2])
        return cls(parts[0], parts[1], active=state > 0, acting=state > 1, stopped=len(parts) > 3)


@dataclass(slots=True)
class PlannerWatch:
    """The watchdog's view of the planners. Times are of the steady clock, in seconds."""

    timeout_s: float  # without a heartbeat for this long, an active planner is lost
    started_s: float  # when the watchdog began to listen
    chosen: str = ""  # id of the planner that may act: the first one heard, or the one acting; empty: none is active
    lost: str = ""  # name of the planner that fell silent while active; empty once one is active again
    losses: int = 0
    _heard: bool = False  # any heartbeat
    _names: dict[str, str] = field(default_factory=dict)  # of the active planners, by id
    _heard_s: dict[str, float] = field(default_factory=dict)
    _acting: set[str] = field(default_factory=set)
    _settled_s: float = float("inf")  # from then on, a planner that is not acting is named too

    def named(self, now_s: float) -> str:
        """Id of the planner to name as the one that may act; empty if there is none yet.

        A watchdog that was restarted may hear an idle planner before the one that acts.
        """
        return self.chosen if self.chosen in self._acting or now_s >= self._settled_s else ""

    @property
    def names(self) -> dict[str, str]:
        """Names of the active planners by their ids, in the order in which they appeared."""
        return dict(self._names)

    def hear(self, beat: Beat, now_s: float) -> None:
        """Take a heartbeat."""
        if not self._heard:
            self._heard, self._settled_s = True, now_s + SETTLES_S
        if not beat.active:
            self._forget(beat.planner)
            return
        if beat.planner not in self._names and len(self._names) >= _MOST_PLANNERS:
            return
        self._names[beat.planner], self._heard_s[beat.planner] = beat.name, now_s
        (self._acting.add if beat.acting else self._acting.discard)(beat.planner)
        self.lost = ""
        if not self.chosen or (beat.acting and self.chosen not in self._acting):
            self.chosen = beat.planner

    def check(self, now_s: float) -> str:
        """Why the robot must be stopped now; empty if it must not.

        The planner that may act has fallen silent since the last call, or none was heard since the watchdog started:
        one may have died before, while the robot drove.
        """
        if not self._heard and now_s - self.started_s > LISTENS_S:
            self._heard, self._settled_s = True, now_s
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
        self._acting.discard(planner)
        if planner == self.chosen:
            self.chosen = next(iter(self._names), "")


@dataclass(slots=True)
class StopsHeard:
    """Emergency stops that planners hold and this watchdog does not know of, because it has just started.

    A stop counts when a planner's heartbeat begins to say it. So a planner that is not released with the others
    does not set the watchdog's stop again.
    """

    stopped: dict[str, bool] = field(default_factory=dict)  # by planner, the last _MOST_PLANNERS
    _released_s: float = float("-inf")

    def released(self, now_s: float) -> None:
        """The watchdog's stop was released."""
        self._released_s = now_s

    def hear(self, beat: Beat, now_s: float) -> bool:
        """Take a heartbeat; whether it says a stop that is news."""
        before = self.stopped.pop(beat.planner, False)
        early = beat.stopped and not before and now_s < self._released_s + _RELEASED_S
        self.stopped[beat.planner] = beat.stopped and not early  # an early one counts if it is said again
        if len(self.stopped) > _MOST_PLANNERS:
            del self.stopped[next(iter(self.stopped))]
        return beat.stopped and not before and not early


@dataclass(slots=True)
class Permission:
    """A planner's view of the watchdog, which may let it act. Times are of the steady clock, in seconds."""

    planner: str  # its id
    started_s: float  # when it began to look for a watchdog
    chosen: str = ""  # what the watchdog said last: an id, `NOBODY`, or nothing
    watchdogs: int = 0  # how many there were at the last look; one that was killed counts until DDS forgets it
    unprotected: bool = False  # whether there was none, in more time than it takes to find one: it acts without
    silent: bool = False  # whether the watchdog is there and has not repeated its choice in time: it may hang
    _heard_s: float | None = None  # when the watchdog spoke last

    def hear(self, chosen: str, now_s: float) -> None:
        """Take what the watchdog says."""
        self.chosen, self._heard_s, self.silent = chosen, now_s, False

    def look(self, *, watchdogs: int, now_s: float) -> None:
        """Take in how many watchdogs there are now. What one that is gone has said is void, and the search restarts."""
        if self.watchdogs and not watchdogs:
            self.chosen, self._heard_s, self.started_s = "", None, now_s
        self.watchdogs = watchdogs
        self.unprotected = not watchdogs and now_s - self.started_s > DISCOVERY_S
        self.silent = self._heard_s is not None and now_s - self._heard_s > STALE_S

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
        return not self.silent and (self.chosen == self.planner or (self.unprotected and not self.chosen))

    @property
    def words(self) -> str:
        """The state, for the diagnostics."""
        if self.unprotected:
            return "none: nobody stops the robot if this planner dies; run watchdog_node"
        if not self.watchdogs:
            return "not found yet"
        if self.silent:
            return f"silent for more than {STALE_S} s: no goal starts until it is heard again"
        state = self.refusal or ("watches this planner" if self.granted else "has not heard this planner yet")
        if self.watchdogs == 1:
            return state
        return f"{state}; {self.watchdogs} publishers of active_planner: run one watchdog (a killed one counts a while)"
