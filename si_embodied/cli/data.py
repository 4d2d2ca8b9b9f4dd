"""`si-embodied data`: spatial questions with exact answers from simulated scenes; recorded episodes as data sets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typing_extensions import Doc
from tyro.conf import Positional, arg

from si_embodied.cli.options import EndWithJson
from si_embodied.cli.output import print_table, say
from si_embodied.cli.parsing import COUNT, Count, all_flags, flags, reader, whole_number
from si_embodied.data.settings import LEAST_PIXELS, DataConfig
from si_embodied.parallel.placement import Placement
from si_embodied.run_lock import locked
from si_embodied.wording import counted

if TYPE_CHECKING:
    from si_embodied.data.audit import TypeAudit

AUDIT_FILE, PAGE_FILE = "audit.json", "inspect.html"
_PIXELS = reader(partial(whole_number, minimum=LEAST_PIXELS, example=224), "N")
_FOLDER = Doc("the data set's folder")


@dataclass(frozen=True, slots=True)
class Generate:
    """Generate a data set. The same command continues after an interruption."""

    data: Annotated[DataConfig, all_flags(DataConfig, count=COUNT, image_size=_PIXELS)]
    out: Annotated[Path, _FOLDER]
    placement: Annotated[Placement, flags(ray="ADDRESS|local", workers=COUNT)] = Placement()

    def run(self) -> int:
        """Generate, and say what there is."""
        from si_embodied.data.engine import generate

        with locked(self.out):
            manifest = generate(self.data, self.out, placement=self.placement)
        unfilled = sum(number for reason, number in manifest.left_out.items() if reason.endswith(": unfilled"))
        unclear = sum(manifest.left_out.values()) - unfilled
        say(
            f"{manifest.questions} questions of {len(manifest.types)} types about {manifest.images} images in "
            f"{self.out}; {unclear} unclear cases were left out, counted in manifest.json."
        )
        if unfilled:
            say(f"{unfilled} questions found no clear case and are missing: see 'unfilled' there.")
        return 0


@dataclass(frozen=True, slots=True)
class Audit:
    """Measure how far one gets without looking; exits with 1 if the text of a type gives its answers away."""

    folder: Annotated[Path, _FOLDER, Positional]
    json: EndWithJson = False

    def run(self) -> int:
        """Audit, and say which types pass."""
        from si_embodied.data.audit import ALLOWED, ENOUGH, audit
        from si_embodied.data.records import read_dataset
        from si_embodied.runs import write_text

        audits = audit(read_dataset(self.folder))
        rows = [{**asdict(one), "excess": one.excess, "passes": one.passes} for one in audits]
        write_text(self.folder / AUDIT_FILE, json.dumps(rows, indent=2) + "\n")
        columns = {"type": "left", **dict.fromkeys(("n", "chance", "constant", "words", "±", ""), "right")}
        print_table(columns, map(_audit_row, audits), title="accuracy from the text alone, in percent")
        few = [one.type for one in audits if one.count < ENOUGH]
        failing = [one.type for one in audits if not one.passes]
        if few:
            say(f"Fewer than {ENOUGH} questions, so mostly noise: {', '.join(few)}.")
        say(f"More than {100 * ALLOWED:.0f} points above chance without an image: {', '.join(failing) or 'no type'}.")
        if self.json:
            say(json.dumps(rows))
        return 1 if failing else 0


def _audit_row(one: TypeAudit) -> list[str]:
    figures = (f"{100 * value:.1f}" for value in (one.chance, one.constant, one.text, 1.96 * one.error))
    return [one.type, str(one.count), *figures, "pass" if one.passes else "[bold red]FAIL"]


@dataclass(frozen=True, slots=True)
class Inspect:
    """Write an HTML page of examples."""

    folder: Annotated[Path, _FOLDER, Positional]
    per_type: Annotated[Count, Doc("examples of each type")] = 3
    out: Annotated[Path | None, Doc(f"the page; default: {PAGE_FILE} in the data set's folder")] = None

    def run(self) -> int:
        """Write the page."""
        from si_embodied.data.gallery import write_gallery

        out = self.out or self.folder / PAGE_FILE
        say(f"{write_gallery(self.folder, out, per_type=self.per_type)} questions to look at in {out}")
        return 0


@dataclass(frozen=True, slots=True)
class Frames:
    """Write a robot's recorded images with depth and pose as a folder: a world to evaluate in (docs/own_world.md)."""

    recording: Annotated[Path, Doc("what recorder_node recorded: the folder, or its .mcap file"), Positional]
    out: Annotated[Path, Doc("the folder to write")]
    camera: Annotated[str, Doc("of the planner's cameras; default: the first")] = ""
    apart: Annotated[float, Doc("metres: leave out an image taken nearer to the last one")] = 0.1
    turned: Annotated[float, Doc("degrees: unless the camera has turned by this much")] = 5.0

    def run(self) -> int:
        """Write the folder, and say how many images there are."""
        from si_embodied.images.posed import write_posed_images
        from si_embodied.ros_nodes.recording.posed import RecordedFrames

        recorded = RecordedFrames(self.recording, camera=self.camera, apart_m=self.apart, apart_deg=self.turned)
        count = write_posed_images(self.out, recorded.frames())
        skipped = f"; {recorded.skipped} without depth or pose were left out" if recorded.skipped else ""
        say(f"{count} images of the camera {recorded.camera!r} in {self.out}{skipped}.")
        return 0


@dataclass(frozen=True, slots=True)
class Types:
    """List the question types and the geometry behind each."""

    def run(self) -> int:
        """Print the table."""
        from rich.markup import escape

        from si_embodied.data.questions import CAPABILITIES, question_types

        rows: list[tuple[str, str, str]] = []
        capability = ""
        for kind in question_types():
            if kind.capability != capability:
                capability = kind.capability
                rows.append((f"[bold]{CAPABILITIES[capability]}", "", ""))
            rows.append((kind.name, kind.source, escape((kind.ask.__doc__ or "").partition("\n\n")[0])))
        print_table({"type": "left", "scenes": "left", "what is true": "wrap"}, rows)
        return 0


@dataclass(frozen=True, slots=True)
class Export:
    """Write recorded episodes as a LeRobot data set (v3): images, states, actions, instructions, subgoals, success."""

    runs: Annotated[
        Positional[tuple[Path, ...]],
        Doc("folders that `eval --keep-steps` or `play` wrote, or that contain such folders"),
        arg(metavar="RUN [RUN ...]"),
    ]
    out: Annotated[Path, Doc("a new folder for the data set")]
    images: Annotated[
        Literal["video", "video-420", "png"],
        Doc("video is H.264 with all colours, video-420 plays in every browser, png is exact"),
    ] = "video"
    successful: Annotated[bool, Doc("leave out episodes that failed")] = False
    with_steps: Annotated[bool, Doc("leave out episodes whose steps were not kept")] = False

    def run(self) -> int:
        """Export, and say what there is."""
        from si_embodied.evaluation.lerobot.writing import export

        done = export(
            self.runs, self.out, images=self.images, successful=self.successful, with_steps=self.with_steps
        )  # fmt: skip
        amounts = (counted(done.episodes, "episode"), counted(done.frames, "frame"), counted(done.tasks, "instruction"))
        say(f"{amounts[0]}, {amounts[1]} and {amounts[2]} in {self.out}")
        if not done.true_rate:
            say(f"Steps do not all take equally long: the rate {done.fps:g} only counts them; stamp_s has their times.")
        return 0


SUBCOMMANDS = {
    "generate": Generate,
    "audit": Audit,
    "inspect": Inspect,
    "types": Types,
    "export": Export,
    "frames": Frames,
}
