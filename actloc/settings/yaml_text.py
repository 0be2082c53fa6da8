"""Reads an experiment's YAML as plain data and remembers the line of every key.

YAML as people read it: `1e-4` is a number, `no` is text, `010` is ten. A key that is given twice is an error, and so is
a tag, which could build an object.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from actloc import files
from actloc.errors import Problem, UserError

KeyPath = tuple[str | int, ...]
_MOST_NODES = 10_000  # stops aliases that expand for ever
_FORMER, _NOW = ("encoder",), ("features", "encoder")  # the encoder once had a block of its own
_LINE_END = re.compile("[\n\r\x85\u2028\u2029]")
COMMAND_LINE = "command line"


class _Loader(yaml.SafeLoader):
    """A safe loader with the scalars of YAML 1.2 in place of those of 1.1."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name and form


class _Dumper(yaml.SafeDumper):
    """Quotes the text that our loader would take for something else."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Double quotes escape what ends a line, which other styles do not all read back."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if _LINE_END.search(text) else None)


_Dumper.add_representer(str, _text_node)
_SCALARS = {
    "null": re.compile(r"^(null|~|)$"),
    "bool": re.compile(r"^(true|false)$"),
    "int": re.compile(r"^[-+]?[0-9]+$"),
    "float": re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
}
for _name, _pattern in _SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, None)
_CONVERT: dict[str, Any] = {
    "tag:yaml.org,2002:null": lambda text: None,
    "tag:yaml.org,2002:bool": lambda text: text == "true",
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": float,
    "tag:yaml.org,2002:str": str,
}
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass
class SettingsDocument:
    """The plain data of a settings file, the line of each key, and the problems so far."""

    file: Path
    data: dict[str, Any] = field(default_factory=dict)  # Any: YAML values
    lines: dict[KeyPath, int | str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def where(self, path: KeyPath) -> str:
        """`file:line` of a key, or of the closest key above it that is written down."""
        while path and path not in self.lines:
            path = path[:-1]
        line = self.lines.get(path, 1)
        return f"{line}" if isinstance(line, str) else f"{self.file}:{line}"


def dump(data: dict[str, Any]) -> str:  # Any: plain data
    """YAML that `read` gives back as `data`."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def read(file: Path, overrides: list[str]) -> SettingsDocument:
    """The file's settings with `key.key=value` overrides on top."""
    try:
        text = files.read_text(file)
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise UserError(
            f"{file} cannot be read: {error}.", "Expected a YAML file.", "List the configs: actloc ls configs"
        ) from error
    document = SettingsDocument(file)
    root = _compose(text, str(file))
    if not isinstance(root, yaml.MappingNode):
        document.problems.append(Problem(f"{file}:1", "expected settings as `key: value` lines"))
        return document
    try:
        document.data = _Builder(document).value(root, ())
    except RecursionError as error:
        raise UserError(f"{file} refers to itself.", "Expected settings.", "Remove its aliases (*name).") from error
    _move_former_block(document)
    for override in overrides:
        _override(document, override)
    return document


def of_overrides(overrides: list[str]) -> SettingsDocument:
    """Settings that were typed as `key.key=value`, without a file."""
    document = SettingsDocument(Path(COMMAND_LINE))
    for override in overrides:
        _override(document, override)
    return document


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        what = getattr(error, "problem", None) or error
        todo = "Put the value in quotes." if name.startswith(COMMAND_LINE) else "Fix that line."
        raise UserError(f"{where}: not valid YAML: {what}.", "Expected `key: value` lines.", todo) from error


class _Builder:
    """Turns nodes into plain values, noting lines and refusing tags, repeated keys and endless aliases."""

    def __init__(self, document: SettingsDocument) -> None:
        self.document = document
        self.num_nodes = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:  # Any: YAML values
        self.num_nodes += 1
        if self.num_nodes > _MOST_NODES:
            raise UserError(
                f"{self.document.file} expands to more than {_MOST_NODES} values.",
                "Expected an experiment's settings.",
                "Remove its aliases (*name).",
            )
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag not in _CONVERT and node.tag not in _COLLECTIONS:
            self._problem(node, path, f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is not allowed")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:  # Any: YAML values
        try:
            return _CONVERT[node.tag](node.value)
        except (KeyError, ValueError):
            self._problem(node, path, f"{node.value!r} does not fit its tag")
            return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, path, "a key must be a plain word")
            elif key in result:
                first = self.document.lines[(*path, key)]
                self._problem(key_node, (*path, key), f"is given twice, first in line {first}")
            else:
                self.document.lines[(*path, key)] = key_node.start_mark.line + 1
                result[key] = self.value(value_node, (*path, key))
        return result

    def _problem(self, node: yaml.Node, path: KeyPath, what: str) -> None:
        where = f"{self.document.file}:{node.start_mark.line + 1}"
        self.document.problems.append(Problem(where, f"{dotted(path)} {what}".strip()))


def _move_former_block(document: SettingsDocument) -> None:
    """Reads the block `encoder:` of files and runs that are older than `features: {encoder: ...}` as that."""
    data = document.data
    if "encoder" not in data:
        return
    features = data.setdefault("features", {})
    if not isinstance(features, dict):
        return  # reported where blocks are checked
    if features.get("encoder") is not None:
        both = f"{document.file}:{document.lines[_FORMER]}"
        document.problems.append(Problem(both, "encoder is the older place of features.encoder; keep one of the two"))
    features["encoder"] = data.pop("encoder")
    for path in [path for path in document.lines if path[:1] == _FORMER]:
        document.lines[(*_NOW, *path[1:])] = document.lines.pop(path)


def dotted(path: KeyPath) -> str:
    """`optimizer.betas[0]` for the path of a key."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _override(document: SettingsDocument, override: str) -> None:
    key, equals, text = override.partition("=")
    path: KeyPath = tuple(key.split("."))
    path = (*_NOW, *path[1:]) if path[:1] == _FORMER else path
    if not equals or not all(path):
        what = f"found {override!r}, expected a setting such as schedule.epochs=3, without blanks around the ="
        document.problems.append(Problem(COMMAND_LINE, what))
        return
    name = f"{COMMAND_LINE}, {key}"
    if not files.is_text(text):
        raise UserError(
            f"{name}: found {text!r}, which is not UTF-8.", "Expected UTF-8 text.", "Rename the file or folder."
        )
    node = _compose(text, name) or _compose("null", name)
    assert node, "null is a node"
    if isinstance(node, yaml.ScalarNode) and node.style is None and _LINE_END.search(text):
        node = yaml.ScalarNode("tag:yaml.org,2002:str", text, node.start_mark)  # YAML would make a blank of it
    section = document.data
    for depth, part in enumerate(map(str, path[:-1]), 1):
        if section.get(part) is None:
            section[part] = {}
            document.lines[path[:depth]] = COMMAND_LINE
        inner = section[part]
        if not isinstance(inner, dict):
            document.problems.append(Problem(COMMAND_LINE, f"{key}: {part} is not a section"))
            return
        section = inner
    builder = _Builder(SettingsDocument(Path(COMMAND_LINE), problems=document.problems))
    section[str(path[-1])] = builder.value(node, path)
    for known in [known for known in document.lines if known[: len(path)] == path]:
        del document.lines[known]
    document.lines[path] = COMMAND_LINE
