"""A model's folder: where it is, its settings, and the files that its features depend on. Nothing in it is run."""

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actloc import console, files
from actloc.encoders.huggingface import values
from actloc.encoders.huggingface.families import FAMILIES, Family
from actloc.errors import UserError

_PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_ADAPTER = "adapter_config.json"
_TYPES = tuple(FAMILIES)  # a tuple, so that a type may be any JSON value
_READ = ["*.json", "*.safetensors"]
_EXTRA = 'Run: pip install "actloc[hf]"'
Json = dict[str, Any]  # Any: JSON values


@dataclass(frozen=True)
class ModelFolder:
    """A folder with config.json, a processor's file and weights, as transformers writes them."""

    path: Path
    commit: str | None = None
    """Of the hub, if the folder is a snapshot of one; None for a folder of the user's."""

    @property
    def config(self) -> Json:
        """The settings of the model; raises UserError if they are missing or wrong."""
        file = self.path / "config.json"
        settings = _json(file)
        if settings.get("model_type") in _TYPES:
            values.check_config(file, settings)
        return settings

    @property
    def family(self) -> Family:
        """The family of the model; raises UserError for one that is not supported."""
        self.require_supported()
        return FAMILIES[self.config["model_type"]]

    def require_supported(self) -> None:
        """Raises UserError for a model of no family that actloc knows."""
        config = self.config
        kind = config.get("model_type")
        if kind in _TYPES:
            return
        own_code = "auto_map" in config
        named = ", ".join(sorted({family.title for family in FAMILIES.values()}))
        raise UserError(
            f"{self.path / 'config.json'} describes a model of type {kind}"
            f"{', which brings its own code (auto_map)' if own_code else ''}.",
            f"Expected one of {named}; model_type: {', '.join(FAMILIES)}.",
            "Choose a model of one of these: actloc never runs code that comes with a model."
            if own_code
            else "Choose a model of one of these families, or write your own encoder (configs/README.md).",
        )

    @property
    def has_classifier(self) -> bool:
        """Whether the weights have a classifier."""
        return self.family.classifier is not None and self.family.classifier in (self.config.get("architectures") or ())

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes of its classifier, in order; None where it has no classifier or no names."""
        names = self.config.get("id2label")
        if not self.has_classifier or not isinstance(names, dict):
            return None
        ordered = tuple(str(names[number]) for number in sorted(names, key=int))
        return None if all(re.fullmatch(r"LABEL_\d+", name) for name in ordered) else ordered

    @property
    def processor(self) -> Json:
        """The values of the processor's file; raises UserError if there is none, or for a wrong value."""
        path = self._processor_file()
        whole = _json(path)
        found = whole.get("video_processor") or whole.get("image_processor") or whole
        if not isinstance(found, dict):
            raise UserError(
                f"{path} has a processor that is not an object.", "Expected a complete file.", "Copy it again."
            )
        set_values = {name: value for name, value in found.items() if value is not None}  # null: the class's default
        values.check_processor(path, set_values)
        return set_values

    def _processor_file(self) -> Path:
        for name in _PROCESSORS:
            if (self.path / name).is_file():
                return self.path / name
        raise UserError(
            f"{self.path} has no preprocessor_config.json.",
            f"Expected one of {', '.join(_PROCESSORS)}: it says how frames are resized and scaled.",
            "Copy it from where the model comes from.",
        )

    def say_what_is_ignored(self) -> None:
        """Says so where the folder brings code of its own for a model that transformers has too."""
        if any(values.names_own_code(_json(file)) for file in (self.path / "config.json", self._processor_file())):
            console.say(
                f"{self.path} names code of its own (auto_map), which is not run: the model is computed by "
                f"transformers' {self.family.title}."
            )

    def weights(self) -> list[Path]:
        """The files of weights; raises UserError if there are none in safetensors' form, or others beside them."""
        if (self.path / _ADAPTER).is_file():
            raise UserError(
                f"{self.path} has {_ADAPTER}: its weights are an adapter of other weights.",
                "Expected a whole model.",
                "Merge the adapter into its model with peft (merge_and_unload), and save that.",
            )
        index = self.path / _INDEX
        # transformers looks in this order too: what is hashed is what is read
        is_divided = index.is_file() and not (self.path / _WEIGHTS).is_file()
        paths = [self.path / name for name in (_names_in(index) if is_divided else [_WEIGHTS])]
        missing = [path for path in paths if not path.is_file()]
        if not missing:
            return paths
        others = sorted(path.name for path in self.path.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".h5"))
        raise UserError(
            f"{', '.join(map(str, missing))} {'is' if len(missing) == 1 else 'are'} missing"
            f"{f'; the folder has {console.first_ten(others)}' if others else ''}.",
            "Expected weights in safetensors' form, which contain no code.",
            "Where you trust these weights, load and save the model with transformers: "
            "model.save_pretrained(FOLDER, safe_serialization=True)"
            if others
            else "Copy the file from where the model comes from.",
        )

    def all_files(self) -> list[Path]:
        """What features depend on."""
        return [self.path / "config.json", self._processor_file(), *self.weights()]

    def sha256(self) -> str:
        """Of the sha256 of each of `all_files`, which identifies the model wherever the folder is."""
        return files.sha256_of_bytes(*(files.sha256_of_file(path).encode() for path in self.all_files()))


def found(model: str, revision: str | None, *, may_download: bool = False) -> ModelFolder:
    """The folder of a model, given as a folder or as its name on the hub; raises UserError if it is not there."""
    if Path(model).is_dir():
        if revision is not None:
            raise UserError(
                f"features.encoder.revision is {revision}, and {model} is a folder.",
                "Expected null: a folder has one revision, of which the sha256 is recorded.",
                "Set features.encoder.revision=null",
            )
        return ModelFolder(Path(model))
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model, re.ASCII) or model.startswith((".", "/")):
        raise UserError(
            f"The folder {model} of the encoder's model does not exist.",
            "Expected a folder with config.json, preprocessor_config.json and model.safetensors, or ORGANISATION/NAME.",
            "Set features.encoder.model=FOLDER",
        )
    require_installed("huggingface_hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = snapshot_download(model, revision=revision, allow_patterns=_READ, local_files_only=not may_download)
    except (LocalEntryNotFoundError, OSError, ValueError) as error:  # HfHubHTTPError and offline errors are OSErrors
        reason = "" if isinstance(error, LocalEntryNotFoundError) else f": {str(error).partition(chr(10))[0]}"
        raise UserError(
            f"The model {model} is neither a folder nor on this machine as a download of the hub{reason}.",
            "Expected a folder, or a model that was downloaded.",
            "Set features.encoder.model=FOLDER, or allow the download: features.encoder.allow_download=true "
            "(without HF_HUB_OFFLINE)",
        ) from error
    return ModelFolder(Path(path), commit=Path(path).name)


def require_installed(package: str = "transformers") -> None:
    """Raises UserError if transformers, or what comes with it, is not installed; imports nothing."""
    try:
        is_there = importlib.util.find_spec(package) is not None
    except ValueError:  # its import was forbidden
        is_there = False
    if not is_there:
        raise UserError(
            f"The encoder huggingface needs {package}, which is not installed here.",
            "Expected the extra hf of actloc.",
            _EXTRA,
        )


def _names_in(index: Path) -> list[str]:
    """The files of divided weights; raises UserError unless all are .safetensors in the folder itself."""
    places = _json(index).get("weight_map")
    names = list(places.values()) if isinstance(places, dict) else []
    wrong = [name for name in names if not (isinstance(name, str) and re.fullmatch(r"[\w-][\w.-]*\.safetensors", name))]
    if names and not wrong:
        return sorted(set(names))
    raise UserError(
        f"{index} says that weights are in {wrong[0]!r}." if wrong else f"{index} has no files in its weight_map.",
        "Expected names of .safetensors files in the same folder.",
        "Copy the folder again from where the model comes from.",
    )


def _json(path: Path) -> Json:
    if not path.is_file():
        raise UserError(
            f"{path.parent} has no {path.name}.",
            "Expected the folder of a model as transformers writes it.",
            "Set features.encoder.model to the folder that contains it.",
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a JSON object.", "Expected a complete file.", "Download or copy it again.")
    return found
