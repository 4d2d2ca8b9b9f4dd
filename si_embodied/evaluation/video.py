"""Videos of episodes, with the instruction, the latest plan and the outcome written below the picture."""

from __future__ import annotations

import textwrap
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import RecordError, RendererError, extra
from si_embodied.evaluation.episode import Ended, EpisodeResult, Watcher
from si_embodied.runs import cannot_write, replacing
from si_embodied.types import Execute

with extra("sim"):
    import imageio_ffmpeg
    from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    import gymnasium
    from numpy.typing import NDArray

    from si_embodied.policies.base import Policy
    from si_embodied.types import Decision, Task

WIDTH = 640  # pixels, at least: smaller frames are enlarged by an integer factor to keep the text legible
BAND = 104  # pixels, height of the text band below the picture
END_S = 1.5  # how long the last frame is shown
_FAILURES: dict[Ended, str] = {
    "terminated": "failed",
    "truncated": "failed: out of steps",
    "step_limit": "failed: never ended",
    "lost": "the simulator was lost",
}
_INK, _FADED, _GOOD, _BAD, _PAPER = (240, 240, 240), (165, 170, 180), (120, 220, 130), (255, 130, 110), (24, 26, 30)


class EpisodeVideo(Watcher):
    """Writes an episode to an mp4 file as it runs: H.264 with even frame sizes, which browsers play."""

    def __init__(self, path: Path, *, title: str) -> None:
        """Prepare a video; the file is created with the first frame.

        Args:
            path: of the mp4 file.
            title: the policy's name, shown beside the step.
        """
        self._path, self._title = path, title
        self._writer: Generator[None, Any, None] | None = None
        self._fps = 5.0
        self._last: tuple[NDArray[np.uint8], list[str]] | None = None

    def frame(self, env: gymnasium.Env[Any, Any], policy: Policy, task: Task, step: int) -> None:
        """Add a frame of what the environment renders now."""
        rendered: Any = env.render()
        if rendered is None:
            raise RendererError("the environment rendered nothing; make it with render_mode='rgb_array'")
        picture = np.asarray(rendered, dtype=np.uint8)
        if self._writer is None:
            self._fps = float(env.metadata.get("render_fps") or 5.0)
        lines = [task.instruction, f"{self._title}, step {step}", describe_decision(policy.decisions)]
        self._last = (picture, lines)
        self._write(draw_frame(picture, lines))

    def end(self, result: EpisodeResult) -> None:
        """Hold the last picture for `END_S`, with the outcome."""
        if self._last is None:
            return
        picture, lines = self._last
        outcome = "success" if result.success else _FAILURES[result.ended]
        last = draw_frame(picture, lines, outcome=outcome, success=result.success)
        for _ in range(max(1, round(END_S * self._fps))):
            self._write(last)

    def close(self, *, keep: bool = True) -> None:
        """Finish the file; remove it unless `keep`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            if keep and (not self._path.exists() or self._path.stat().st_size == 0):
                raise self._failed(OSError("nothing was written"))
        if not keep and self._path.exists():
            self._path.unlink()

    def _write(self, frame: NDArray[np.uint8]) -> None:
        try:
            if self._writer is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._writer = imageio_ffmpeg.write_frames(
                    str(self._path),
                    (frame.shape[1], frame.shape[0]),
                    fps=self._fps,
                    codec="libx264",
                    pix_fmt_out="yuv420p",
                    macro_block_size=2,
                    output_params=["-crf", "23", "-preset", "veryfast", "-movflags", "+faststart", "-threads", "1"],
                    ffmpeg_log_level="error",
                )
                self._writer.send(None)
            self._writer.send(np.ascontiguousarray(frame))
        except OSError as error:
            self._writer = None
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> RecordError:
        return RecordError(f"{cannot_write(self._path, error)}, or ask for --videos 0")


def describe_decision(decisions: Sequence[Decision]) -> str:
    """The latest decision in one line; empty if there is none."""
    if not decisions:
        return ""
    decision, number = decisions[-1], len(decisions)
    if isinstance(decision, Execute):
        words = [_subgoal_words(subgoal) for subgoal in decision.subgoals] or ["done"]
        return f"plan {number}: " + ", then ".join(words)
    return f"plan {number}: hold, {decision.code.name}: {decision.message}"


def _subgoal_words(subgoal: Any) -> str:
    values = [str(value) for key, value in subgoal.model_dump().items() if key not in ("skill", "view", "point", "to")]
    point = getattr(subgoal, "point", None)
    where = "" if point is None else f" at {tuple(point)}"
    return " ".join([subgoal.skill, *values]) + where


def draw_frame(
    picture: NDArray[np.uint8], lines: list[str], *, outcome: str = "", success: bool = False
) -> NDArray[np.uint8]:
    """Draw a picture (H, W, 3) above a band with the instruction, the step and the plan; the result has even sizes."""
    scale = max(1, -(-WIDTH // picture.shape[1]))
    width, height = picture.shape[1] * scale // 2 * 2, picture.shape[0] * scale // 2 * 2
    canvas = Image.new("RGB", (width, height + BAND), _PAPER)
    canvas.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC), (0, 0))
    draw = ImageDraw.Draw(canvas)
    instruction, step, plan = lines
    characters = width // 8
    small, large = (ImageFont.load_default(size) for size in (14, 17))
    draw.text((10, height + 6), textwrap.shorten(instruction, characters, placeholder="…"), _INK, large)
    draw.text((10, height + 31), step, _FADED, small)
    for row, text in enumerate(textwrap.wrap(plan, characters, max_lines=2, placeholder=" …")):
        draw.text((10, height + 54 + 20 * row), text, _INK if "hold," not in plan else _BAD, small)
    if outcome:
        draw.text((width - 10, height + 31), outcome, _GOOD if success else _BAD, large, anchor="ra")
    return np.asarray(canvas)


@dataclass(slots=True)
class VideoShelf:
    """Keeps at most `limit` videos of a run, preferring failures."""

    folder: Path
    limit: int
    _kept: list[tuple[Path, bool]] = field(default_factory=list)  # and whether the episode succeeded

    def __post_init__(self) -> None:
        """Find the videos of an earlier run."""
        self.tidy()
        self._kept += [(path, path.stem.endswith("-success")) for path in sorted(self.folder.glob("seed-*-*.mp4"))]
        self._kept.sort(key=lambda item: item[1])

    def tidy(self) -> None:
        """Remove the videos of episodes that did not end."""
        for path in self.folder.glob("seed-*.mp4"):
            if not path.stem.endswith(("-success", "-failure")):
                path.unlink(missing_ok=True)

    def place(self, seed: int) -> Path | None:
        """Where to write the video of an episode; None if it would not be kept."""
        if sum(not success for _, success in self._kept) >= self.limit:
            return None
        return self.folder / f"seed-{seed:06d}.mp4"

    def put(self, result: EpisodeResult, video: bytes | None = None) -> None:
        """Add the video of an episode, and delete the least interesting one if there are too many.

        Args:
            result: the episode.
            video: the file, if it was made on another machine; otherwise it is where `place` said.

        Raises:
            RecordError: the file cannot be written.
        """
        path = self.folder / f"seed-{result.seed:06d}.mp4"
        if video is not None:
            with replacing(path) as part:
                part.write_bytes(video)
        if not path.exists():
            return
        named = path.with_stem(f"{path.stem}-{'success' if result.success else 'failure'}")
        path.replace(named)
        self._kept.append((named, result.success))
        self._kept.sort(key=lambda item: item[1])  # failures first, otherwise in order of arrival
        for surplus, _ in self._kept[self.limit :]:
            surplus.unlink(missing_ok=True)
        del self._kept[self.limit :]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The kept videos, failures first."""
        return tuple(path for path, _ in self._kept)
