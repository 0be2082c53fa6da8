"""The memory bank of a run: where it is, and what it starts from."""

import copy

from actloc import console
from actloc.encoders.base import ClipEncoder
from actloc.end_to_end.bank import Bank
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.extraction.local import recipe
from actloc.sources.base import Source
from actloc.store.store import FeatureStore
from actloc.training import checkpoint as checkpoints


def give_bank(experiment: Experiment, source: Source, *, is_new: bool) -> None:
    """Gives the source of the training videos its bank, in the run's folder, if the settings ask for one.

    Raises UserError where the run is new and the stored features that the bank starts from are missing or others.
    """
    if experiment.features.bank_store is None:
        return
    if is_new:
        check_start(experiment, source)
    source.bank = Bank(experiment.run_folder / "bank", dtype=experiment.features.dtype)


def starts_anew(experiment: Experiment, *, overwrite: bool) -> bool:
    """Whether training begins with the first step."""
    return overwrite or not checkpoints.steps(experiment.run_folder)


def check_start(experiment: Experiment, source: Source) -> None:
    """Raises UserError unless there are features of every training video, made with the encoder as it starts."""
    folder, live = experiment.features.bank_store, source.live
    assert folder is not None
    assert live is not None, "features that are not stored are made by an encoder"
    store = FeatureStore(folder)
    missing = [video.id for video in source.videos if not store.has(video.id)]
    fix = f"Run: actloc extract-features {experiment.arguments}"
    if missing:
        raise UserError(
            f"{folder} has features of {len(source.videos) - len(missing)} of "
            f"{console.count(len(source.videos), 'training video')}; missing: {console.first_ten(missing)}.",
            "Expected stored features of every training video, from which the run's memory bank starts.",
            fix,
        )
    store.check_recipe(bank_recipe(experiment, live.encoder))


def as_extracted(experiment: Experiment, encoder: ClipEncoder) -> ClipEncoder:
    """The encoder with the precision of the run, in which it makes features before training as well."""
    own = copy.copy(encoder)
    own.config = encoder.config.model_copy(update={"precision": experiment.training.precision})
    return own


def bank_recipe(experiment: Experiment, encoder: ClipEncoder) -> dict[str, object]:
    """What determines the features that the bank starts from."""
    return recipe(as_extracted(experiment, encoder), experiment.features.spacing, experiment.features.dtype)
