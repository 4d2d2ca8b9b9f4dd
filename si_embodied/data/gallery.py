"""An HTML page of example questions, with each answer drawn into its image."""

from __future__ import annotations

import base64
import html
import io
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from si_embodied.data.marks import draw_boxes, draw_marks
from si_embodied.data.questions import CAPABILITIES
from si_embodied.data.records import PLACEHOLDER, read_dataset
from si_embodied.errors import DataError
from si_embodied.runs import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from si_embodied.data.records import Conversation, Labels

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; color: #222; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem }
h3 { margin-bottom: .3rem; font-size: 1rem; font-family: monospace }
.row { display: flex; flex-wrap: wrap; gap: 1rem } .card { width: 23rem; border: 1px solid #ddd; border-radius: 6px;
padding: .7rem } .card img { width: 224px; max-width: 100%; image-rendering: pixelated; margin-right: 4px }
.card p { margin: .4rem 0; white-space: pre-line; overflow-wrap: anywhere } .answer { color: #0a6b2d; font-weight: 600 }
.id { color: #888; font-size: .8rem }
"""


def annotated(rgb: NDArray[np.uint8], labels: Labels) -> NDArray[np.uint8]:
    """The image with the accepted box and the answer's point drawn in, if it has them."""
    height, width = rgb.shape[:2]
    scale = np.array([width, height, width, height]) / 1000
    box = labels.accepts.box
    if box is None:
        return rgb
    x0, y0, x1, y1 = (float(v) for v in np.array(box) * scale)
    shown = draw_boxes(rgb, [(x0, y0, x1 - 1, y1 - 1)])
    if labels.form in ("point", "plan"):
        u, v = (x0 + x1) / 2, (y0 + y1) / 2
        if labels.form == "point":
            x, y = (int(part) for part in labels.answer.strip("[]").split(","))
            u, v = x / 1000 * width - 0.5, y / 1000 * height - 0.5
        shown = draw_marks(shown, [(u, v, "")], (255, 40, 200))
    return shown


def write_gallery(folder: Path, out: Path, *, per_type: int = 3) -> int:
    """Write one HTML file with a few questions of every type and their images; returns the number of questions.

    Raises:
        DataError: the data set or one of its images is missing.
        RecordError: the page cannot be written.
    """
    cards: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for entry, labels in read_dataset(folder):
        shown = cards[labels.capability][labels.type]
        if len(shown) < per_type:
            shown.append(_card(folder, entry, labels))
    parts = [f"<!doctype html><meta charset='utf-8'><title>Spatial questions</title><style>{_STYLE}</style>"]
    parts.append(f"<h1>Spatial questions: {html.escape(folder.name)}</h1>")
    for capability, types in cards.items():
        parts.append(f"<h2>{html.escape(CAPABILITIES.get(capability, capability))}</h2>")
        for name, shown in types.items():
            parts.append(f"<h3>{html.escape(name)}</h3><div class='row'>{''.join(shown)}</div>")
    write_text(out, "\n".join(parts))
    return sum(len(shown) for types in cards.values() for shown in types.values())


def _card(folder: Path, entry: Conversation, labels: Labels) -> str:
    pictures = []
    for path in entry.images:
        try:
            with Image.open(folder / path) as image:
                rgb = np.array(image.convert("RGB"))
        except OSError as error:
            raise DataError(f"cannot read the image {path!r} of question {entry.id!r}: {error}") from error
        buffer = io.BytesIO()
        Image.fromarray(annotated(rgb, labels)).save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        pictures.append(f"<img alt='{html.escape(path)}' src='data:image/png;base64,{data}'>")
    text = html.escape(entry.question.replace(PLACEHOLDER, "").strip())
    answer, place = html.escape(labels.answer), html.escape(f"{entry.id}, scene {labels.seed}")
    return (
        f"<div class='card'>{''.join(pictures)}<p>{text}</p>"
        f"<p class='answer'>{answer}</p><p class='id'>{place}</p></div>"
    )
