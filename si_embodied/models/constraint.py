"""Constrains an answer to its JSON schema, token by token, with llguidance."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from si_embodied.errors import ConfigError, GrammarError, extra
from si_embodied.thinking import ANSWER, THINK, THINK_END

with extra("models"):
    from llguidance import LLMatcher, LLTokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

# With fixed whitespace a weak model cannot loop on blanks, and most of a plan's bytes are forced.
_JSON: Any = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
_BYTES_PER_CHARACTER = 6  # a control character escaped as \\u00XX; UTF-8 itself needs at most 4
_GRAMMARS_KEPT = 16
_MOST_CHARACTERS = 300
_EXPLAINED = {
    "NoExtensionBias": "no text fits it; look for a $ref that leads back to itself, or parts that exclude each other"
}
"""What llguidance calls by a name only."""


class Constraint:
    """The grammar state of one answer."""

    def __init__(self, matcher: LLMatcher, vocabulary_size: int, token_text: Callable[[int], str]) -> None:
        """Take a `matcher` at the start of the answer; `token_text` maps a token to its text."""
        self._matcher, self._size = matcher, vocabulary_size
        self.token_text = token_text
        self._check()

    @property
    def finished(self) -> bool:
        """Whether the answer is complete."""
        return bool(self._matcher.is_stopped())

    def forced(self) -> list[int]:
        """The tokens that the grammar forces next; often none."""
        tokens = list(self._matcher.compute_ff_tokens())
        self._check()
        return tokens

    def allowed(self) -> NDArray[np.bool_]:
        """Mask (V,) of the tokens that may come next."""
        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        mask = np.zeros(self._size, dtype=np.bool_)
        bits = np.unpackbits(packed, bitorder="little")[: self._size]
        mask[: bits.size] = bits
        return mask

    def fits(self, tokens: Sequence[int]) -> int:
        """Length of the longest prefix of `tokens` that the grammar accepts next."""
        count = int(self._matcher.validate_tokens(list(tokens)))
        self._check()
        return count

    def accept(self, tokens: Sequence[int]) -> None:
        """Advance past `tokens`.

        Raises:
            GrammarError: the grammar does not accept a token.
        """
        self._matcher.consume_tokens(list(tokens))
        self._check()

    def _check(self) -> None:
        """Turn llguidance's sticky error state into an exception."""
        if self._matcher.is_error():
            raise GrammarError(f"the answer's grammar failed: {_in_one_line(self._matcher.get_error())}")


class Grammars:
    """Compiles schemas for one tokenizer (about 5 ms each), and caches the most recent ones. Any thread may use it."""

    def __init__(self, tokenizer_json: str, *, vocabulary_size: int, end_token: int) -> None:
        """Index the vocabulary; takes about a second for 152,000 tokens.

        Args:
            tokenizer_json: a Hugging Face `tokenizer.json`.
            vocabulary_size: rows of the model's output layer; may exceed the number of tokens in the tokenizer.
            end_token: the token that ends an answer.
        """
        self._size, self._end_token = vocabulary_size, end_token
        self._tokenizer = LLTokenizer(tokenizer_json, n_vocab=vocabulary_size, eos_token=end_token)
        self._matchers: OrderedDict[str, LLMatcher] = OrderedDict()
        self._thoughts: LLMatcher | None = None  # at their start
        self._lock = threading.Lock()  # guards the compiled grammars
        self._texts: dict[int, str] = {}  # by token; bounded by the vocabulary

    def start(self, schema: Mapping[str, object]) -> Constraint:
        """A new constraint for an answer of `schema`.

        Besides JSON schemas, {"type": "text", "pattern": …, "maxLength": …} means plain text that matches the regular
        expression, such as the letter of an option.

        Raises:
            ConfigError: llguidance cannot compile the schema.
        """
        with self._lock:
            return Constraint(self._matcher(json.dumps(schema), schema).deep_copy(), self._size, self.token_text)

    def _matcher(self, text: str, schema: Mapping[str, object]) -> LLMatcher:
        """The compiled schema, from the cache if it is there."""
        matcher = self._matchers.get(text)
        if matcher is None:
            grammar = (
                LLMatcher.grammar_from_regex(str(schema["pattern"]))
                if schema.get("type") == "text"
                else LLMatcher.grammar_from_json_schema(text, overrides=_JSON)
            )
            problem = LLMatcher.validate_grammar(grammar, self._tokenizer)
            if problem and not problem.startswith("WARNING"):
                raise ConfigError(f"llguidance cannot compile the answer's schema: {_in_one_line(problem)}")
            matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
            self._matchers[text] = matcher
            if len(self._matchers) > _GRAMMARS_KEPT:
                self._matchers.popitem(last=False)
        self._matchers.move_to_end(text)
        return matcher

    def thinking(self) -> Constraint:
        """A new constraint for thoughts: any text between the think tags, then the tag that begins the answer."""
        with self._lock:
            if self._thoughts is None:
                grammar = LLMatcher.grammar_from_lark(self._thinking_grammar())
                self._thoughts = LLMatcher(self._tokenizer, grammar, log_level=0)
            return Constraint(self._thoughts.deep_copy(), self._size, self.token_text)

    def _thinking_grammar(self) -> str:
        """The grammar of thoughts in Lark's format. A tag that is a token of its own, as Qwen3's, is not quoted."""
        think, end, answer = (tag if self._is_token(tag) else f'"{tag}"' for tag in (THINK, THINK_END, ANSWER))
        if end == THINK_END:
            return f"start: {think} thoughts {end} {answer}\nthoughts: /(?s:.*)/\n"
        return f"start: {think} thoughts {answer}\nthoughts[lazy]: /(?s:.*)<\\/think>/\n"

    def _is_token(self, text: str) -> bool:
        """Whether llguidance takes a text for a special token, as it does every added token in angle brackets."""
        tokens = self.tokens(text)
        return len(tokens) == 1 and bool(self._tokenizer.is_special_token(tokens[0]))

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text."""
        return list(self._tokenizer.tokenize_str(text))

    def token_text(self, token: int) -> str:
        """The text of one token."""
        text = self._texts.get(token)
        if text is None:
            text = self._texts[token] = self.text([token])
        return text

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes of one token, which may end within a character."""
        return bytes(self._tokenizer.decode_bytes([token]))

    def text(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, without the token that ends an answer if it is the last."""
        ended = bool(tokens) and tokens[-1] == self._end_token
        return str(self._tokenizer.decode_str(list(tokens[:-1] if ended else tokens)))


def _in_one_line(problem: str) -> str:
    """What llguidance says is wrong, without its state and the marks below a regular expression."""
    lines = (line.strip() for line in problem.partition("\n<state>")[0].splitlines())
    said = " ".join(line for line in lines if line.strip("^"))
    # The cause comes last, after the expression, which may be long.
    short = (
        said if len(said) <= _MOST_CHARACTERS else f"{said[: _MOST_CHARACTERS // 2]}…{said[-_MOST_CHARACTERS // 2 :]}"
    )
    return _EXPLAINED.get(short, short)


def longest_answer_bytes(schema: Mapping[str, Any], where: str = "answer") -> int:
    """Upper bound of an answer's length in UTF-8 bytes, and so of its tokens: a token has at least one byte.

    Raises:
        ConfigError: the schema leaves something unbounded, where a weak model could go on forever.
    """
    if "const" in schema:
        return _json_bytes(schema["const"])
    if "enum" in schema:
        return max(_json_bytes(value) for value in schema["enum"])
    if "anyOf" in schema:
        return max(longest_answer_bytes(choice, where) for choice in schema["anyOf"])
    kind = schema.get("type")
    if kind in ("boolean", "null"):
        return len("false")
    if kind == "integer" and {"minimum", "maximum"} <= schema.keys():
        return max(_json_bytes(schema["minimum"]), _json_bytes(schema["maximum"]), len("-0"))
    if kind == "text" and "maxLength" in schema:
        return int(schema["maxLength"]) * _BYTES_PER_CHARACTER
    if kind == "string" and "maxLength" in schema:
        return int(schema["maxLength"]) * _BYTES_PER_CHARACTER + 2
    if kind == "array" and "prefixItems" in schema and schema.get("maxItems") == len(schema["prefixItems"]):
        items = [longest_answer_bytes(item, f"{where}[{i}]") for i, item in enumerate(schema["prefixItems"])]
        return sum(items) + len(items) + 1
    if kind == "array" and "maxItems" in schema and isinstance(schema.get("items"), Mapping):
        return int(schema["maxItems"]) * (longest_answer_bytes(schema["items"], f"{where}[]") + 1) + 2
    if kind == "object" and schema.get("additionalProperties") is False:
        pairs = [
            _json_bytes(key) + 2 + longest_answer_bytes(value, f"{where}.{key}")
            for key, value in schema.get("properties", {}).items()
        ]
        return sum(pairs) + 2
    raise ConfigError(
        f"the answer's schema does not bound {where} ({json.dumps(schema)[:80]}): give integers a minimum and a "
        "maximum, strings a maxLength, arrays a maxItems, and objects additionalProperties false"
    )


def _json_bytes(value: object) -> int:
    """Length of a value as JSON, in bytes."""
    return len(json.dumps(value).encode())
