"""`actloc import-features CONFIG STORE`: copies published feature files into a feature store."""

import shlex
from pathlib import Path

import numpy as np

from actloc import console, files
from actloc.datasets.base import read_prepared
from actloc.errors import UserError
from actloc.experiment import Experiment, with_inputs
from actloc.extraction import importing, preparing
from actloc.settings import own_code, yaml_text
from actloc.signals import StopFlag
from actloc.sources import folders
from actloc.store.filling import (
    FailureRow,
    failure,
    fill,
    is_complete,
    refuse_without_files,
    report_failures,
    space_shortage,
    to_make,
)
from actloc.store.store import FeatureStore

_LONGEST_NAME = 200


def run(experiment: Experiment, *, store: Path, recipe: str | None = None, overwrite: bool = False) -> int:
    """Imports the features that the store does not have; exit status 3 if some videos failed.

    A complete store is not touched.
    """
    config = _importable(experiment, store)
    wanted = importing.recipe_of(config, _checked_name(experiment.file.stem if recipe is None else recipe))
    if not experiment.dataset.has_actions:
        preparing.where_needed(experiment.dataset, experiment.preparation, lambda: with_inputs(experiment))
    videos = read_prepared(experiment.dataset, experiment.arguments).videos
    target = FeatureStore(store)
    sources = {name: importing.paths_of(config, video) for name, video in videos.items()}
    if not overwrite:
        target.check_recipe(wanted)
        if is_complete(target, sources):
            target.write_index()
            console.result(f"# {store} is already complete")
            return _report_end(config, target, len(videos), [], "")
    # the files may be deleted once their features are in the store
    gone = {name for name, paths in sources.items() if not all(path.exists() for path in paths)}
    kept = set() if overwrite else {name for name in gone if target.has(name)}
    found = importing.survey(config, [video for name, video in videos.items() if name not in kept])
    with files.locked(store), StopFlag() as stop:
        if overwrite:  # everything that can be known to fail is found before features are deleted
            refuse_without_files(target, sources)
        again = sources if overwrite else to_make(target, sources)
        todo = {name: found.shapes[name] for name in again if name in found.shapes}
        num_values = sum(steps * channels for steps, channels in todo.values())
        freed_bytes = target.num_bytes() if overwrite else 0
        shortage = space_shortage(store, len(todo), num_values * np.dtype(config.dtype).itemsize, freed_bytes)
        if shortage:
            raise shortage
        target.begin(wanted, overwrite=overwrite)
        failed = {name: failure(name, sources[name][0], error) for name, error in found.refused.items()}
        outcomes = importing.import_videos(config, [videos[name] for name in todo], target, wanted, stop)
        paths = {name: sources[name][0] for name in todo}
        with console.progress("importing features", len(todo)) as bar:
            rows = fill(target, outcomes, failed, paths, lambda name: bar(1, name))
        target.write_index()
    option = [] if recipe is None else ["--recipe", recipe]
    command = shlex.join([experiment.typed, str(store), *experiment.overrides, *option, *own_code.options()])
    return _report_end(config, target, len(videos), rows, f"actloc import-features {command}")


def _importable(experiment: Experiment, store: Path) -> folders.Config:
    """The settings of files that can be imported into `store`."""
    config = experiment.features
    if not isinstance(config, folders.Config):
        raise UserError(
            f"features.name is {config.name} in {experiment.file}.",
            "Expected the source `folders`, whose settings say where the files are and which time each row covers.",
            "See: actloc show thumos14_i3d_actionformer",
        )
    if config.is_resized:
        raise UserError(
            "features.is_resized is true: rows resized to one length are not at a constant number of frames.",
            "Expected rows that follow each other at a constant number of frames.",
            "Train on these files in place; the source `folders` reads them.",
        )
    if store.resolve() in [path.resolve() for path in (config.path, *config.more_paths)]:
        raise UserError(
            f"{store} is where the features are read from.",
            "Expected another folder for the store.",
            "Name one that does not exist yet.",
        )
    if experiment.features.encoder is not None:
        console.warn(f"{experiment.file} has an encoder, but these features come from files; remove it before training")
    return config


def _checked_name(name: str) -> str:
    """A recipe's name: any text of one line."""
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise UserError(
            f"The recipe's name is {name[:_LONGEST_NAME]!r}.",
            f"Expected one line of 1 to {_LONGEST_NAME} printable characters.",
            "Choose another, such as --recipe i3d_thumos",
        )
    return name.strip()


def _report_end(
    config: folders.Config, store: FeatureStore, num_videos: int, failed: list[FailureRow], again: str
) -> int:
    done = num_videos - len(failed)
    block = importing.settings_afterwards(config, store.folder)
    console.emit("done", path=str(store.folder), videos=done, failed=len(failed), features=block)
    if done:
        # a comment, so that all of stdout is YAML
        console.result(
            f"# {store.folder}: features of {console.count(done, 'video')}, {console.size(store.num_bytes())}"
        )
        console.result(yaml_text.dump({"features": block}).rstrip())
        console.say("Next: to train on the store, replace `features:` in your config with these lines.")
    return report_failures(store, num_videos, failed, again) if failed else 0
