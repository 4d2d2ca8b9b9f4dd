"""No external input is ever executed: no remote code and no pickles. Checked on the syntax tree of every file."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("si_embodied", "envs", "policies", "ros_nodes", "launch", "benchmarks")
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}


def _files() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path.is_file())


def _name(node: ast.AST) -> str:
    """The dotted name of an expression: "torch.load"."""
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _keyword(call: ast.Call, name: str) -> object:
    """A keyword's constant value; `...` if it is not a constant, None if it is not given."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value.value if isinstance(keyword.value, ast.Constant) else ...
    return None


def _remote_code(node: ast.AST) -> bool:
    """`trust_remote_code` as a keyword or a key, unless it is False."""
    if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
        return not (isinstance(node.value, ast.Constant) and node.value.value is False)
    return isinstance(node, ast.Constant) and node.value == "trust_remote_code"


def _pickling(node: ast.AST) -> bool:
    """An import of a module that unpickles."""
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in PICKLING for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PICKLING


def _loading(node: ast.AST) -> bool:
    """A loader of torch, numpy, PyYAML or pandas that may unpickle."""
    if not isinstance(node, ast.Call):
        return False
    name = _name(node.func)
    if name in ("torch.load", "torch.hub.load", "torch.jit.load"):
        return name != "torch.load" or _keyword(node, "weights_only") is not True
    if name in ("np.load", "numpy.load"):
        return _keyword(node, "allow_pickle") not in (None, False)
    return name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle", "pandas.read_pickle")


def _not_local(node: ast.AST) -> bool:
    """A Hugging Face loader that might download: only `models/hub.py` downloads, and only the file names it lists."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    return node.func.attr == "from_pretrained" and _keyword(node, "local_files_only") is not True


def _running(node: ast.AST) -> bool:
    """Code executed from text."""
    return isinstance(node, ast.Call) and _name(node.func) in ("eval", "exec", "compile")


RULES: dict[str, Callable[[ast.AST], bool]] = {
    "no remote code": _remote_code,
    "no import that unpickles": _pickling,
    "no reader that unpickles": _loading,
    "no code from text": _running,
    "no download outside the hub module": _not_local,
}


def _offences(rule: Callable[[ast.AST], bool], tree: ast.AST) -> Iterator[int]:
    return (getattr(node, "lineno", 0) for node in ast.walk(tree) if rule(node))


@pytest.mark.parametrize("name", RULES)
def test_no_file_breaks_the_rule(name: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in _files()
        for line in _offences(RULES[name], ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not found, f"{name}: {', '.join(found)}"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("no remote code", "AutoModel.from_pretrained(x, trust_remote_code=True)"),
        ("no remote code", "AutoModel.from_pretrained(x, trust_remote_code=args.trust)"),
        ("no remote code", "options = {'trust_remote_code': True}"),
        ("no import that unpickles", "from pickle import loads"),
        ("no import that unpickles", "import joblib.numpy_pickle as reader"),
        ("no reader that unpickles", "torch.load(file)"),
        ("no reader that unpickles", "torch.load(file, weights_only=False)"),
        ("no reader that unpickles", "np.load(file, allow_pickle=True)"),
        ("no reader that unpickles", "yaml.load(text, Loader=yaml.Loader)"),
        ("no code from text", "eval(answer)"),
        ("no download outside the hub module", "AutoConfig.from_pretrained(name)"),
        ("no download outside the hub module", "AutoConfig.from_pretrained(name, local_files_only=False)"),
    ],
)
def test_the_rule_detects_a_violation(name: str, code: str) -> None:
    assert list(_offences(RULES[name], ast.parse(code)))


def test_safe_calls_are_allowed() -> None:
    tree = ast.parse("torch.load(f, weights_only=True); np.load(f, allow_pickle=False); np.load(f); model.eval()")
    assert not any(list(_offences(rule, tree)) for rule in RULES.values())
