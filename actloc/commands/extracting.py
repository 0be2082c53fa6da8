"""Extracts the features that a store does not have, after the checks that need no encoder."""

import shlex
from collections.abc import Collection
from contextlib import closing

from actloc import console, files, recipes
from actloc.annotations.model import AnnotatedVideo
from actloc.devices import choose_device, warn_of_slow_bfloat16
from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder, built, check_clips, ready, vectors_per_clip
from actloc.experiment import Experiment
from actloc.extraction.into_store import Engine, extract, sources_of, space_shortage_of
from actloc.extraction.local import encode_videos, recipe
from actloc.extraction.plan import Shard
from actloc.runs import extraction_request as request
from actloc.runs.reuse import next_training
from actloc.runs.run_bank import as_extracted
from actloc.runs.trained import load_trained
from actloc.settings.choices import Dtype
from actloc.settings.sections import MachineSettings
from actloc.signals import StopFlag
from actloc.store.filling import (
    FailureRow,
    is_complete,
    refuse_without_files,
    report_failures,
)
from actloc.store.store import FeatureStore
from actloc.video.reader import check_installed
from actloc.video.windows import ClipSpacing


def extract_into(
    store: FeatureStore,
    experiment: Experiment,
    encoder_config: EncoderConfig,
    videos: dict[str, AnnotatedVideo],
    own: Shard | None,
    engine: str,
    *,
    overwrite: bool,
    allow_changed_code: bool,
) -> int:
    """Extracts and reports; the arguments are as in `extract_features.run`, and `own` is the shard."""
    encode, encoder = _engine(engine), encoder_of(experiment, encoder_config)
    spacing, dtype = experiment.features.spacing, experiment.features.dtype
    wanted = recipe(encoder, spacing, dtype)
    begun = store.recipe() or {}
    if allow_changed_code and "code" in begun:
        wanted["code"] = begun["code"]
    if not overwrite:
        store.check_recipe(wanted)
        if is_complete(store, sources_of(videos)):
            store.write_index()
            console.result(f"{store.folder} is already complete")
            return _report_end(experiment, store, videos, [], own, videos)
    request.check_files(experiment, videos)
    device = choose_device(experiment.machine.device)
    warn_of_slow_bfloat16(encoder.config.precision, device, "features.encoder.precision")
    check_installed(experiment.machine.reader, encoder.config.frame_steps())
    if overwrite:  # everything that can be known to fail is found before features are deleted
        _check_overwriting(store, videos, encoder, spacing, dtype, experiment.machine)
    with files.locked(store.folder, str(own or "")), StopFlag() as stop:
        encoder = ready(encoder, device)
        store.begin(wanted, overwrite=overwrite)
        before = set(store.ids())
        failed = extract(videos, store, encoder, spacing, dtype, experiment.machine, stop, own, encode)
        store.write_index()
    return _report_end(experiment, store, videos, failed, own, before)


def _engine(name: str) -> Engine:
    if name == "local":
        return encode_videos
    from actloc.extraction import ray_cluster

    return ray_cluster.encode_videos


def encoder_of(experiment: Experiment, config: EncoderConfig) -> ClipEncoder:
    """The encoder with its weights: those of the run, if it trained them; those it starts from, for a bank."""
    if not experiment.features.trains_encoder:
        return built(config)
    if request.is_for_bank(experiment):
        return as_extracted(experiment, built(config))
    with closing(load_trained(experiment)) as trained:
        assert trained.live is not None, "its features are made by an encoder"
        encoder = trained.live.encoder
    encoder.config = config.model_copy(update={"precision": experiment.training.precision})
    tensors = sorted(encoder.state_dict().items())
    encoder.weights_sha256 = files.sha256_of_bytes(*(one.cpu().contiguous().numpy().tobytes() for _, one in tensors))
    return encoder


def _check_overwriting(
    store: FeatureStore,
    videos: dict[str, AnnotatedVideo],
    encoder: ClipEncoder,
    spacing: ClipSpacing,
    dtype: Dtype,
    machine: MachineSettings,
) -> None:
    """Raises UserError or EnvironmentProblem where features would be deleted that cannot be made again."""
    check_clips(encoder, spacing)
    encoder.check_videos({video.id: video.file for video in videos.values() if video.file is not None})
    refuse_without_files(store, sources_of(videos))
    values = encoder.channels * vectors_per_clip(encoder, spacing)
    shortage = space_shortage_of(store, list(videos.values()), values, spacing, dtype, machine, store.num_bytes())
    if shortage:
        raise shortage


def _report_end(
    experiment: Experiment,
    store: FeatureStore,
    videos: dict[str, AnnotatedVideo],
    failed: list[FailureRow],
    shard: Shard | None,
    before: Collection[str],
) -> int:
    done = len(videos) - len(failed)
    new = len(videos.keys() - before) - sum(row["id"] not in before for row in failed)
    share, option = (f" of shard {shard.text}", f" --shard {shard.text}") if shard else ("", "")
    console.emit("done", path=str(store.folder), videos=done, failed=len(failed))
    if failed:
        again = f"actloc extract-features {experiment.arguments}{option}"
        return report_failures(store, len(videos), failed, again, str(shard or ""))
    added = f", {new} of them new" if 0 < new < done else ""
    console.result(f"{store.folder}: features of {console.count(done, 'video')}{share}{added}")
    if shard:
        console.say(f"Next, when all shards are done: actloc extract-features {experiment.arguments} --dry-run")
    elif experiment.features.trains_encoder and not request.is_for_bank(experiment):
        console.say(
            f"To train on them, set features.name=stored and features.path={store.folder} in a config of your own"
        )
        console.say(f"To pack them into one file: actloc export {shlex.quote(str(store.folder))} FILE.h5")
    elif experiment.dataset.has_actions:
        console.say(f"Next: {next_training(experiment)}")
    else:
        _print_uses(experiment)
    return 0


def _print_uses(experiment: Experiment) -> None:
    """Prints how to train on features of videos without actions, and how to export them."""
    store, file = experiment.features.path, experiment.file
    recipe = file.stem if file in recipes.available() else file
    made_so = [one for one in experiment.overrides if one.startswith(("encoder.", "features."))]
    settings = [f"recipe={recipe}", *(one for one in made_so if not one.startswith("features.path="))]
    console.say(
        "To train on them, with your actions in LABELS.csv: actloc prepare own_videos dataset.videos=FOLDER "
        f"dataset.annotations=LABELS.csv {shlex.join([*settings, f'features.path={store}'])}"
    )
    console.say(f"To pack them into one file: actloc export {shlex.quote(str(store))} FILE.h5")
