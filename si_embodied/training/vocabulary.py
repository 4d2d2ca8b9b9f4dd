"""The small model's tokenizer: the worlds' words, the plan's JSON fragments and the numbers 0..1000 are single tokens.

Any other text falls back to bytes. Like the family's own tokenizer it is byte-level, but without merges.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from si_embodied.errors import extra
from si_embodied.models.tiny import CHAT_TEMPLATE, SPECIAL_TOKENS
from si_embodied.types import Code

with extra("models"):
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

if TYPE_CHECKING:
    from collections.abc import Iterable

NUMBERS = 1001
"""0..1000, the relative coordinates of a point. Each number is its own token id."""

SHAPES = ("cube", "cylinder", "triangular prism", "hexagonal prism", "long block", "cross", "ball")
CONTAINERS = ("bowl", "bin", "shape sorter")
FURNITURE = (
    "chair", "stool", "office chair", "sofa", "armchair", "table", "coffee table", "desk", "bed", "nightstand",
    "wardrobe", "dresser", "cupboard", "filing cabinet", "bookshelf", "tv", "floor lamp", "plant", "fridge", "stove",
    "sink", "washing machine", "toilet", "bathtub", "washbasin", "laundry basket", "suitcase", "piano", "rug",
)  # fmt: skip
CATEGORIES: tuple[str, ...] = (*SHAPES, *CONTAINERS, *FURNITURE)
COLOURS = (
    "red", "green", "blue", "yellow", "orange", "purple", "pink", "white", "black", "gray", "brown", "wood",
)  # fmt: skip
_PLACES = ("square hole", "round hole", "long hole", "living room", "kitchen", "bedroom", "bathroom", "office")
_ITEMS = ("mug", "bowl", "ball", "book", "can", "bottle", "box")
_SKILLS = (
    "navigate", "goto", "turn", "look_around", "forward", "look", "pick", "place", "push", "open", "close", "home",
    "explore", "explore_view", "stop", "up", "down",
)  # fmt: skip
_FAILURES = tuple(code.name.lower() for code in Code if code not in (Code.OK, Code.PROMPT_TOO_LONG))
"""A code that was added after the shipped checkpoint was trained is read as bytes: a token would shift the others."""
_WORDS = tuple(
    """
a an and answer arm as at base behind between bottom build by carrot clear close colour corners deep degrees direction
distance door down drive each every facing far farthest find fits floor for from front front go goal goes grass grasp
has have here hold holds hole in into is it its lemon left leg like long longer look memory middle near nearest never
next not nothing object objects of on one only or order other over path pick pickup place plan plans planner plum point
plus position put ripe right robot roll round sea see seen set shape shaped shelf side sides sign sits six so sort
stack stand stands stop straight surface tall tallest task than that the their them then there thing things three to
tomato top toward towards tower turn two up view wall was where which wide with you your Task View Plan So system
user assistant mobile yet done
failed before after first again last can i corner small large big black block
Image In Known Last Reached To You ago ahead already are around away bring camera cannot closed everything gripper head
held hold looking m near nearer no none nothing now off once open out picture reach room s seen skill start stay
succeeded swap taken task twice without wrist yet begins drive driven farther inside empty hand
""".split()  # noqa: SIM905
)
_VIEWS = range(16)
"""The numbers of views in answers."""
POINT_PIECES = tuple(f'","view":{view},"point":[' for view in _VIEWS)
"""The end of an object's name, its view and the start of its point, by view. Choosing the view is one decision."""
PIECES = (
    '{"subgoals":[{"skill":"', '{"subgoals":[', '{"skill":"', '","object":"', *POINT_PIECES,
    *(f'"view":{view},"point":[' for view in _VIEWS), ']},{"skill":"', ']}],"done":', '"},{"skill":"',
    '"}],"done":', '],"done":', '"done":', "true}",
    "false}", '","degrees":', '","centimetres":', '","direction":"', '],"to":[', '":', '","', '{"', '"}', ']}', '[{',
    '}],"done":', '},{"skill":"',
)  # fmt: skip


@cache
def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, built once."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = list(dict.fromkeys((*CATEGORIES, *COLOURS, *_PLACES, *_ITEMS, *_SKILLS, *_FAILURES, *_WORDS)))
    names = [*map(str, range(NUMBERS)), *map(_byte_level, PIECES)]
    for word in words:
        names += [_byte_level(word), _byte_level(f" {word}")]
    names += alphabet
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_pattern(words)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # nosec B106  # tokens of the vocabulary
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=8192
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def word_id(word: str, *, spaced: bool) -> int:
    """The token id of a word of the vocabulary, with a leading space if `spaced`."""
    number = make_tokenizer().convert_tokens_to_ids(_byte_level(f" {word}" if spaced else word))
    return int(number)


def _byte_level(text: str) -> str:
    """ASCII text in the printable alphabet of byte-level vocabularies."""
    return text.replace(" ", "Ġ")


def _pattern(words: Iterable[str]) -> str:
    """A pattern that splits text into JSON fragments, phrases, words, numbers and single characters."""
    pieces = "|".join(re.escape(piece) for piece in sorted(PIECES, key=len, reverse=True))
    phrases = "|".join(sorted((word for word in words if " " in word or "_" in word), key=len, reverse=True))
    return rf" ?(?:{phrases})(?![a-z])|{pieces}| ?[A-Za-z]+|[0-9]{{1,4}}|[\s\S]"
