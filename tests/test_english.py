"""Plain English in the source: reasons, not references to documents outside the repository; no retired words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.test_docs import RETIRED

SOURCES = sorted([*Path("actloc").rglob("*.py"), *(path for path in Path("scripts").rglob("*") if path.is_file())])
SOURCES = [path for path in SOURCES if "__pycache__" not in path.parts]
ABSENT = re.compile(
    r"\bspecs?:|\bspec/|\(spec[ ,]|\([RQG]\d+(?:, [RQG]\d+)*\)|\b(?:reliability|performance),? (?:[RGQ]\d|finding)"
    r"|\b(?:house|experience|reliability|performance|style|ux)\.md\b"
)
"""A reference to a document outside the repository, such as `spec: features 8`, `(R12)` or `performance, finding 7`."""
AWKWARD = re.compile(r"\b(lacks?|is nothing that|goes? before|told with)\b")
"""More words that a message does without; pages may use them."""


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """The texts that users may see: strings of several words, and the docstrings of settings, which `show` prints."""
    tree = ast.parse(path.read_text())
    hidden = set()
    for node in ast.walk(tree):
        inside = node.body if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) else []
        is_settings = isinstance(node, ast.ClassDef) and any(
            isinstance(statement, ast.AnnAssign) for statement in node.body
        )
        for statement in [] if is_settings else inside:
            if isinstance(statement, ast.Expr):
                hidden.add(statement.value)
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip()
        if is_text and node not in hidden:
            yield node.lineno, node.value


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_reason_is_given_and_not_a_document_that_no_clone_contains(path: Path) -> None:
    assert [line for line in lines_of(path) if ABSENT.search(line)] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.suffix == ".py"], ids=str)
def test_messages_are_in_plain_english(path: Path) -> None:
    assert [(line, text) for line, text in messages(path) if RETIRED.search(text) or AWKWARD.search(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "(spec: features 2.12)",
        "(reliability R8, R10)",
        "(R19)",
        "the fault of reliability G38",
        "performance, finding 7",
    ],
)
def test_references_to_absent_documents_are_recognised(text: str) -> None:
    assert ABSENT.search(text)
