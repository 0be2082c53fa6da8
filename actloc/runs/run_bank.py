"""The memory bank of a run: where it is, and what it starts from."""

import copy

from actloc import console
from actloc.encoders.base_network import ClipEncoder
from actloc.end_to_end.bank import Bank
from actloc.end_to_end.clip_window import ClipWindow
from actloc.errors import UserError
from actloc.experiment import Experiment
from actloc.extraction.into_store import sources_of
from actloc.extraction.local import recipe
from actloc.runs.bank_place import check_place
from actloc.sources.base_source import Source
from actloc.store.filling import stale
from actloc.store.store import IMPORTED, FeatureStore
from actloc.training.distributed import ALONE, Processes


def give_bank(experiment: Experiment, source: Source, *, is_new: bool, processes: Processes = ALONE) -> None:
    """Gives the source of the training videos its bank, in the run's folder, if the settings ask for one.

    The source is left with the videos that the bank has. Raises UserError where the run is new and the stored features
    that the bank starts from are missing, are others, or would be deleted with the run's folder.
    """
    if experiment.features.bank_store is None:
        return
    source.bank = Bank(experiment.run_folder / "bank", dtype=experiment.features.dtype)
    if is_new:
        source.keep_only(processes.of_first(lambda: _to_start_from(experiment, source)))
    else:
        known = source.bank.video_ids()
        source.keep_only(known or [video.id for video in source.videos])  # a bank that is gone is reported later


def _to_start_from(experiment: Experiment, source: Source) -> set[str]:
    """The training videos that have features to start from; raises UserError unless they all do, if they have to."""
    folder, live = experiment.features.bank_store, source.live
    assert folder is not None
    assert live is not None, "features that are not stored are made by an encoder"
    check_place(experiment)
    store = FeatureStore(folder)
    videos = {video.id: video for video in source.videos}
    missing = [video_id for video_id in videos if not store.has(video_id)]
    is_imported = IMPORTED in (store.recipe() or {})
    fix = f"Run: {store.command_to_make() if is_imported else f'actloc extract-features {experiment.arguments}'}"
    if len(missing) == len(videos) or (missing and not experiment.features.allow_missing):
        without = "" if len(missing) == len(videos) else "; or leave these videos out: features.allow_missing=true"
        raise UserError(
            f"{folder} has features of {len(videos) - len(missing)} of "
            f"{console.count(len(videos), 'training video')}; missing: {console.first_ten(missing)}.",
            "Expected stored features of every training video, from which the run's memory bank starts.",
            fix + without,
        )
    if is_imported:
        _check_imported(store, source)
        return videos.keys() - missing
    store.check_recipe(bank_recipe(experiment, live.encoder))
    changed = stale(store, sources_of(videos))
    if changed:
        raise UserError(
            f"{folder} has features of other files than those of {console.first_ten(changed)}.",
            "Expected features of the training videos as they are now.",
            fix,
        )
    return videos.keys() - missing


def _check_imported(store: FeatureStore, source: Source) -> None:
    """Raises UserError if imported features cannot be those of the source's encoder and videos; warns where unknown."""
    recipe, config = store.recipe() or {}, source.config
    again = f"{store.command_to_make()} --overwrite"
    dtype = recipe.get("features", {}).get("dtype")
    if dtype != config.dtype:
        raise UserError(
            f"{store.folder} has features imported as {dtype}; features.dtype is {config.dtype}.",
            "Expected the same number format for the features that the bank starts from.",
            f"Set features.dtype={dtype}, or import them again: {again} features.dtype={config.dtype}",
        )
    present = [index for index, video in enumerate(source.videos) if store.has(video.id)]
    wrong = []
    for index in present:
        video_id, window = source.videos[index].id, source.evaluation_sample(index).payload
        assert isinstance(window, ClipWindow), "it is encoded"
        info = store.info(video_id)
        rows = config.spacing.num_rows(window.num_frames, window.layout.vectors_per_clip)
        if info.channels != source.in_channels or abs(info.steps - rows) > config.tolerance_steps:
            wrong.append(f"{video_id} has {info.steps} x {info.channels}, not {rows} x {source.in_channels}")
    if wrong:
        raise UserError(
            f"The imported features of {len(wrong)} of {console.count(len(present), 'training video')} in "
            f"{store.folder} do not fit:\n  {console.first_lines(wrong)}",
            f"Expected the rows that each video's frames give, within {config.tolerance_steps:g}, and the encoder's "
            "channels.",
            f"Import features of this encoder: {again}. To use those of TALLFormer, train with features.align=padded. "
            "To make them with the encoder, set features.bank=ANOTHER and run extract-features",
        )
    console.warn(
        f"The memory bank starts from imported features ({recipe[IMPORTED]['recipe']}). Which weights made them is not "
        "recorded, so they cannot be compared with the weights that the encoder starts from"
    )


def as_extracted(experiment: Experiment, encoder: ClipEncoder) -> ClipEncoder:
    """The encoder with the precision of the run, in which it makes features before training as well."""
    own = copy.copy(encoder)
    own.config = encoder.config.model_copy(update={"precision": experiment.training.precision})
    return own


def bank_recipe(experiment: Experiment, encoder: ClipEncoder) -> dict[str, object]:
    """What determines the features that the bank starts from."""
    return recipe(as_extracted(experiment, encoder), experiment.features.spacing, experiment.features.dtype)
