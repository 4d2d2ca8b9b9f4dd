"""The ChArUco board: its geometry, its file, and the page to print."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import Doc

from si_embodied.config import read_settings
from si_embodied.errors import ConfigError, RecordError, UnknownNameError, extra
from si_embodied.ros_nodes.sensing.opencv import import_opencv
from si_embodied.runs import replacing, write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_SQUARES = 3
"""Along each edge of a board."""
PAPERS_M = {"A4": (0.210, 0.297), "A3": (0.297, 0.420), "letter": (0.2159, 0.2794)}
"""Width and height of a page, metres."""

_DOTS_PER_M = 300 / 0.0254
_LEAST_MARGIN_M = 0.008
"""Office printers leave about 5 mm at each edge blank."""
_FOOTER_M = 0.018
"""Below the board: a ruler, and the geometry in words."""
_RULER_M = 0.1


@dataclass(frozen=True, slots=True)
class Board:
    """A chessboard with ArUco markers in its white squares.

    Its frame has the origin at the outer corner of the first square, x along the columns, y along the rows, and z into
    the board.
    """

    columns: Annotated[int, Doc("squares along the short edge")] = 5
    rows: Annotated[int, Doc("squares along the long edge")] = 7
    square_m: Annotated[float, Doc("edge of a square, metres")] = 0.036
    marker_m: Annotated[float, Doc("edge of a marker, metres")] = 0.027
    dictionary: Annotated[str, Doc("OpenCV's name of the markers")] = "DICT_4X4_50"
    legacy_pattern: Annotated[bool, Doc("the layout of OpenCV before 4.6: the first square is white")] = False

    def __post_init__(self) -> None:
        """Check the sizes; OpenCV checks the dictionary when the board is used."""
        if min(self.columns, self.rows) < LEAST_SQUARES:
            least = f"{LEAST_SQUARES} x {LEAST_SQUARES}"
            raise ConfigError(f"expected a board of at least {least} squares, got: {self.columns} x {self.rows}")
        if not 0 < self.marker_m < self.square_m < 10:
            raise ConfigError(
                f"expected markers smaller than their squares, in metres, got: marker_m {self.marker_m}, "
                f"square_m {self.square_m}; 36 mm are 0.036"
            )

    @property
    def size_m(self) -> tuple[float, float]:
        """Width and height of the pattern, metres."""
        return self.columns * self.square_m, self.rows * self.square_m

    @property
    def words(self) -> str:
        """The geometry in a line."""
        return (
            f"{self.columns} x {self.rows} squares of {1e3 * self.square_m:g} mm, markers of "
            f"{1e3 * self.marker_m:g} mm, {self.dictionary}"
        )

    def opencv(self) -> Any:
        """The board as `cv2.aruco.CharucoBoard`.

        Raises:
            UnknownNameError: OpenCV has no such dictionary.
            ConfigError: the dictionary has too few markers.
            MissingExtraError: OpenCV is not installed; or `BrokenPackageError`.
        """
        cv2 = import_opencv()
        dictionary = named_dictionary(self.dictionary)
        needed, has = self.columns * self.rows // 2, len(dictionary.bytesList)
        if needed > has:
            raise ConfigError(
                f"a board of {self.columns} x {self.rows} squares needs {needed} markers, but {self.dictionary} has "
                f"{has}; take a larger dictionary, for example DICT_5X5_1000"
            )
        board = cv2.aruco.CharucoBoard((self.columns, self.rows), self.square_m, self.marker_m, dictionary)
        board.setLegacyPattern(self.legacy_pattern)
        return board

    def corners_m(self) -> NDArray[np.float64]:
        """The chessboard corners (n, 3) in the board's frame, metres; a corner's number is its row here."""
        import numpy as np

        return np.asarray(self.opencv().getChessboardCorners(), dtype=np.float64)

    def outline_m(self) -> NDArray[np.float64]:
        """The corners (4, 3) of the pattern in the board's frame, metres."""
        import numpy as np

        width, height = self.size_m
        return np.array([(0.0, 0.0, 0.0), (width, 0.0, 0.0), (width, height, 0.0), (0.0, height, 0.0)])


def dictionary_names() -> list[str]:
    """The names of OpenCV's marker dictionaries."""
    return [name for name in dir(import_opencv().aruco) if name.startswith("DICT_")]


def named_dictionary(name: str) -> Any:
    """OpenCV's dictionary of a name.

    Raises:
        UnknownNameError: there is none.
    """
    cv2 = import_opencv()
    if name not in dictionary_names():
        raise UnknownNameError("marker dictionary", name, dictionary_names())
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))


def read_board(path: Path) -> Board:
    """Read a board's YAML file.

    Raises:
        ConfigError: the file is missing, or a value in it is wrong.
    """
    if not path.is_file():
        raise ConfigError(
            f"no board file {str(path)!r}; `si-embodied calibrate board` writes one, or describe your own board with "
            f"{', '.join(each.name for each in fields(Board))}"
        )
    return read_settings(Board, path)


def write_board(board: Board, page: Path, paper: str) -> Path:
    """Write the page to print, and beside it the YAML file with the geometry, whose path is returned.

    Raises:
        ConfigError: the file is neither PDF nor PNG, the paper is unknown, or the board is larger than it.
        RecordError: a file cannot be written.
        MissingExtraError: OpenCV or Pillow is not installed.
    """
    import yaml

    if page.suffix.lower() not in (".pdf", ".png"):
        raise ConfigError(f"expected a page that ends in .pdf or .png, got: {str(page)!r}")
    pixels, per_m = draw_page(board, paper)
    with extra("bags"):
        from PIL import Image
    dots_per_inch = per_m * 0.0254
    options = {"resolution": dots_per_inch} if page.suffix.lower() == ".pdf" else {"dpi": (dots_per_inch,) * 2}
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        with replacing(page) as partial:
            Image.fromarray(pixels).save(partial, format=page.suffix[1:].upper(), **options)
    except OSError as error:
        raise RecordError(f"cannot write {str(page)!r}: {error.strerror or error}; give another --out") from error
    description = page.with_suffix(".yaml")
    write_text(description, f"# {board.words}\n{yaml.safe_dump(asdict(board), sort_keys=False)}")
    return description


def draw_page(board: Board, paper: str) -> tuple[NDArray[np.uint8], float]:
    """The page with the board, a ruler and the geometry in words.

    Returns:
        The page (H, W), and its pixels per metre: a square has a whole number of pixels, so that its size is exact.

    Raises:
        ConfigError: the paper is unknown, or the board is larger than it.
    """
    import numpy as np

    if paper not in PAPERS_M:
        raise UnknownNameError("paper", paper, PAPERS_M)
    (width_m, height_m), (across_m, down_m) = PAPERS_M[paper], board.size_m
    if across_m > width_m - 2 * _LEAST_MARGIN_M or down_m > height_m - 2 * _LEAST_MARGIN_M - _FOOTER_M:
        raise ConfigError(
            f"a board of {1e3 * across_m:.0f} x {1e3 * down_m:.0f} mm does not fit on {paper} "
            f"({1e3 * width_m:.0f} x {1e3 * height_m:.0f} mm, less margins and {1e3 * _FOOTER_M:.0f} mm for a ruler); "
            "take smaller or fewer squares, or larger paper"
        )
    square_px = round(board.square_m * _DOTS_PER_M)
    per_m = square_px / board.square_m
    page = np.full((round(height_m * per_m), round(width_m * per_m)), 255, np.uint8)
    pattern = board.opencv().generateImage((board.columns * square_px, board.rows * square_px))
    top = (page.shape[0] - round(_FOOTER_M * per_m) - pattern.shape[0]) // 2
    left = (page.shape[1] - pattern.shape[1]) // 2
    page[top : top + pattern.shape[0], left : left + pattern.shape[1]] = pattern
    _draw_footer(page, board, left, top + pattern.shape[0], per_m)
    return page, per_m


def _draw_footer(page: NDArray[np.uint8], board: Board, left: int, bottom: int, per_m: float) -> None:
    """Draw a ruler of 100 mm with a tick every 10 mm, and what to do with it."""
    cv2 = import_opencv()
    y = bottom + round(0.008 * per_m)
    line = max(1, round(0.0003 * per_m))
    cv2.line(page, (left, y), (left + round(_RULER_M * per_m), y), 0, line)
    for tick in range(11):
        x = left + round(tick * _RULER_M / 10 * per_m)
        cv2.line(page, (x, y - round(0.002 * per_m)), (x, y + round(0.002 * per_m)), 0, line)
    words = (
        ("100 mm: print at 100% ('actual size'), and measure this and a square", round(0.006 * per_m)),
        (board.words, round(0.0105 * per_m)),
    )
    for text, below in words:
        cv2.putText(page, text, (left, y + below), cv2.FONT_HERSHEY_SIMPLEX, per_m * 0.00008, 0, line, cv2.LINE_AA)
