"""The meaning of a setting: the docstring after its field, read from the source when it is asked for.

Pydantic can read them as classes are made, which takes every command a tenth of a second.
"""

import ast
import functools
import inspect
import itertools
import linecache

from pydantic import BaseModel


def meaning(section: type[BaseModel], name: str) -> str:
    """What the setting is, on one line; empty if nothing says it."""
    written = section.model_fields[name].description
    if written is None:
        classes = [one for one in section.__mro__ if name in _docstrings(one)]
        written = _docstrings(classes[0])[name] if classes else ""
    return " ".join(written.split())


@functools.cache
def _docstrings(owner: type) -> dict[str, str]:
    """The docstring of each field that the class itself has."""
    if not issubclass(owner, BaseModel) or owner is BaseModel:
        return {}
    try:
        written = _classes(inspect.getsourcefile(owner) or "").get(owner.__qualname__)
    except (OSError, TypeError, SyntaxError):  # a class that was made without a file has no docstrings
        return {}
    found = {}
    body = [] if written is None else written.body
    for field, after in itertools.pairwise(body):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


@functools.cache
def _classes(file: str) -> dict[str, ast.ClassDef]:
    """The classes of a file by qualified name. It is parsed once: `inspect.getsource` parses it for each class anew."""
    found = {}
    inside: list[tuple[str, ast.AST]] = [("", ast.parse("".join(linecache.getlines(file))))]
    while inside:
        prefix, node = inside.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                found[prefix + child.name] = child
                inside.append((f"{prefix}{child.name}.", child))
            elif isinstance(child, ast.FunctionDef):
                inside.append((f"{prefix}{child.name}.<locals>.", child))
    return found
