"""The meaning of a setting: the docstring after its field, read from the source when it is asked for.

Pydantic can read them as classes are made, which takes every command a tenth of a second.
"""

import ast
import functools
import inspect
import textwrap

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
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    except (OSError, TypeError, SyntaxError):  # a class that was made without a file has no docstrings
        return {}
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        match field, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
    return found
