from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from si_embodied.errors import RecordError, RendererError
from si_embodied.evaluation.config import EvaluationConfig
from si_embodied.evaluation.episode import EpisodeResult, run_episode
from si_embodied.evaluation.records import RecordFile
from si_embodied.evaluation.registry import make_env, observe
from si_embodied.evaluation.runner import evaluate
from si_embodied.evaluation.video import EpisodeVideo, VideoShelf, draw_frame


def read(path: Path) -> tuple[dict, np.ndarray]:
    reader = imageio_ffmpeg.read_frames(str(path), pix_fmt="rgb24")
    meta = next(reader)
    width, height = meta["size"]
    return meta, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def result(seed: int, *, success: bool) -> EpisodeResult:
    return EpisodeResult(seed, "t", "", success, 1, "terminated", 0.0, 0.0, {})


def test_a_video_is_h264_of_even_size_with_every_step(fake_world: str, tmp_path: Path) -> None:
    import fake_world as world

    env = make_env(EvaluationConfig(env=fake_world, policy="thinker"), render=True)
    video = EpisodeVideo(tmp_path / "a.mp4", title="thinker")
    run_episode(env, world.Thinker(), 0, observe=observe, watchers=[video])
    video.close()
    meta, frames = read(tmp_path / "a.mp4")
    assert meta["codec"] == "h264"
    assert [size % 2 for size in meta["size"]] == [0, 0]
    assert len(frames) == 1 + 2 + round(
        1.5 * 5
    )  # the reset, two steps, and the end stays at the world's 5 frames a second


def test_success_and_failure_have_their_colours() -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    plain = draw_frame(picture, ["find the chair", "planner, step 3", ""])
    won = draw_frame(picture, ["find the chair", "planner, step 3", ""], outcome="success", success=True)
    changed = won[(won != plain).any(axis=-1)].astype(int)
    assert len(changed) > 50
    assert changed[:, 1].mean() > changed[:, 0].mean()  # green


def test_a_long_plan_stays_inside_its_band() -> None:
    picture = np.full((60, 80, 3), 255, np.uint8)
    frame = draw_frame(picture, ["i" * 500, "s", "plan 1: " + "goto red chair, then " * 40])
    assert frame.shape == draw_frame(picture, ["", "", ""]).shape
    assert (frame[: 60 * 8] == 255).all()


def test_a_world_that_renders_nothing_is_an_error(fake_world: str, tmp_path: Path) -> None:
    import fake_world as world

    class Dark(world.FakeWorld):
        def render(self):
            return None

    with pytest.raises(RendererError, match="rgb_array"):
        run_episode(
            Dark(), world.Stopper(), 0, observe=observe, watchers=[EpisodeVideo(tmp_path / "a.mp4", title="stopper")]
        )


def test_a_video_that_cannot_be_written_names_its_path(fake_world: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = EvaluationConfig(env=fake_world, policy="stopper", episodes=1)
    records = RecordFile(tmp_path / "records.jsonl", config.identity())
    with pytest.raises(RecordError, match=r"seed-000000\.mp4"):
        evaluate(config, records, shelf=VideoShelf(tmp_path / "file" / "videos", 1))


def test_failures_are_kept_before_successes(tmp_path: Path) -> None:
    shelf = VideoShelf(tmp_path, 2)
    for seed, success in enumerate([True, True, False, True, False]):
        place = shelf.place(seed)
        assert place is not None
        place.touch()
        shelf.put(result(seed, success=success))
    assert [path.name for path in shelf.paths] == ["seed-000002-failure.mp4", "seed-000004-failure.mp4"]
    assert sorted(tmp_path.glob("*")) == sorted(shelf.paths)
    assert shelf.place(9) is None  # enough failures: nothing more is rendered


def test_a_later_run_counts_the_videos_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "seed-000001-failure.mp4").touch()
    (tmp_path / "seed-000002.mp4").touch()  # of an episode that was cut off
    shelf = VideoShelf(tmp_path, 1)
    assert shelf.place(3) is None
    assert [path.name for path in tmp_path.glob("*")] == ["seed-000001-failure.mp4"]


def test_an_interrupted_episode_leaves_no_video(fake_world: str, tmp_path: Path) -> None:
    config = EvaluationConfig(env=fake_world, policy="interrupter", episodes=4)
    shelf = VideoShelf(tmp_path / "videos", 9)
    evaluate(config, RecordFile(tmp_path / "records.jsonl", config.identity()), shelf=shelf)
    names = sorted(path.name for path in (tmp_path / "videos").glob("*"))
    assert names == ["seed-000000-success.mp4", "seed-000001-failure.mp4"]
