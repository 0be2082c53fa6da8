"""`actloc extract-features CONFIG`: videos in, one file of features per video out; a second run does what is left."""

import shlex
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch

from actloc import console, files, recipes
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.datasets.base import read_prepared
from actloc.devices import choose_device, warn_of_slow_bfloat16
from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder, built, check_clips, ready, vectors_per_clip
from actloc.errors import ActlocError, UserError
from actloc.experiment import Experiment, is_run, with_inputs
from actloc.extraction import preparing
from actloc.extraction.into_store import Engine, extract, sources_of, space_shortage_of
from actloc.extraction.local import encode_videos, recipe
from actloc.extraction.plan import Shard, durations, estimated_bytes, shared_out
from actloc.runs.run_bank import as_extracted, check_place
from actloc.runs.trained import load_trained
from actloc.settings.choices import Dtype
from actloc.settings.sections import MachineSettings
from actloc.signals import StopFlag
from actloc.store.filling import (
    FailureRow,
    free_bytes,
    is_complete,
    refuse_without_files,
    report_failures,
    stale,
)
from actloc.store.store import FeatureStore
from actloc.video.reader import check_installed
from actloc.video.windows import ClipSpacing


def run(
    experiment: Experiment,
    *,
    overwrite: bool = False,
    shard: str | None = None,
    dry_run: bool = False,
    engine: str = "local",
    allow_changed_code: bool = False,
) -> int:
    """Extracts the features that the store does not have; exit status 3 if some videos failed.

    A complete store is not touched.

    `shard`, such as 2/8, is the share of the videos to extract here. `dry_run` reports the remaining work and stops,
    with status 2 if something is missing. The engine is local, or ray for a cluster. With `allow_changed_code` a store
    that the user's own encoder began is continued with changed code; each video's file names the code that made it.
    """
    if engine == "ray" and experiment.features.trains_encoder and not _is_for_bank(experiment):
        raise UserError(
            f"--engine ray was given, and {experiment.typed} trained its encoder.",
            "Expected the local engine: the machines of a cluster load an encoder's published weights.",
            f"Run: actloc extract-features {experiment.run_folder}; divide the work with --shard",
        )
    encode = _engine(engine)
    encoder_config = _encoder_config(experiment)
    own = None if shard is None else Shard.parse(shard)
    if dry_run:
        return _report_plan(experiment, encoder_config, own, overwrite=overwrite)
    if own and overwrite:
        raise UserError(
            "--overwrite and --shard were given together.",
            "Expected one of them: --overwrite in one shard would delete the other shards' work.",
            f"Delete {_store_folder(experiment)}, then start all shards",
        )
    preparing.where_needed(experiment.dataset, experiment.preparation, lambda: with_inputs(experiment))
    videos = _share(read_prepared(experiment.dataset, experiment.arguments), own)
    store, encoder = FeatureStore(_store_folder(experiment)), _encoder(experiment, encoder_config)
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
            return _report_end(experiment, store, videos, [], own)
    _check_files(experiment, videos)
    device = choose_device(experiment.machine.device)
    warn_of_slow_bfloat16(encoder.config.precision, device, "features.encoder.precision")
    check_installed(experiment.machine.reader, encoder.config.frame_steps())
    if overwrite:  # everything that can be known to fail is found before features are deleted
        _check_overwriting(store, videos, encoder, spacing, dtype, experiment.machine)
    with files.locked(store.folder, str(own or "")), StopFlag() as stop:
        encoder = ready(encoder, device)
        store.begin(wanted, overwrite=overwrite)
        failed = extract(videos, store, encoder, spacing, dtype, experiment.machine, stop, own, encode)
        store.write_index()
    return _report_end(experiment, store, videos, failed, own)


def _engine(name: str) -> Engine:
    if name == "local":
        return encode_videos
    from actloc.extraction import ray_cluster

    ray_cluster.check_installed()
    return ray_cluster.encode_videos


def _encoder_config(experiment: Experiment) -> EncoderConfig:
    if experiment.features.encoder is None:
        raise UserError(
            f"{experiment.file} has no encoder: its features are read from {experiment.features.path}.",
            "Expected an encoder, to turn videos into features.",
            f"Train on those features: actloc train {experiment.arguments}; or extract others with recipe=NAME after "
            "this command: actloc ls recipes",
        )
    if experiment.features.encoder.mixes_clips:
        raise UserError(
            f"The encoder {experiment.features.encoder.name} of {experiment.file} mixes the clips of a window.",
            "Expected an encoder that encodes each clip on its own, as features are stored.",
            f"Detect with the run's own encoder: actloc eval {experiment.run_folder}",
        )
    return experiment.features.encoder


def _encoder(experiment: Experiment, config: EncoderConfig) -> ClipEncoder:
    """The encoder with its weights: those of the run, if it trained them; those it starts from, for a bank."""
    if not experiment.features.trains_encoder:
        return built(config)
    if _is_for_bank(experiment):
        return as_extracted(experiment, built(config))
    with closing(load_trained(experiment)) as trained:
        assert trained.live is not None, "its features are made by an encoder"
        encoder = trained.live.encoder
    encoder.config = config.model_copy(update={"precision": experiment.training.precision})
    tensors = sorted(encoder.state_dict().items())
    encoder.weights_sha256 = files.sha256_of_bytes(*(one.cpu().contiguous().numpy().tobytes() for _, one in tensors))
    return encoder


def _store_folder(experiment: Experiment) -> Path:
    """The folder of the features: in the run, if they are made with its encoder; where its bank starts, if for that."""
    path, bank_store = experiment.features.path, experiment.features.bank_store
    if bank_store is not None and _is_for_bank(experiment):
        check_place(experiment)
        return bank_store
    return experiment.run_folder / path if experiment.features.trains_encoder else path


def _is_for_bank(experiment: Experiment) -> bool:
    """Whether the features are those that the bank of a run starts from, and not those of a run's own encoder."""
    return experiment.features.bank_store is not None and not is_run(experiment.file.parent)


def _check_files(experiment: Experiment, videos: dict[str, AnnotatedVideo]) -> None:
    """Raises UserError where no video has a file, as in the annotations that published data sets ship."""
    if videos and all(video.file is None for video in videos.values()):
        raise UserError(
            f"{experiment.dataset.annotations_file} names no video files ({console.count(len(videos), 'video')}).",
            "Expected video files to extract features from.",
            f"Extract features from your own folder of videos, then train on {experiment.features.path}: "
            f"actloc extract-features RECIPE dataset.videos=FOLDER features.path={experiment.features.path} "
            "(list the recipes: actloc ls recipes)",
        )


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


def _share(annotations: Annotations, shard: Shard | None) -> dict[str, AnnotatedVideo]:
    return annotations.videos if shard is None else shared_out(annotations.videos, shard)


def _as_prepared(experiment: Experiment) -> Annotations:
    """The annotations; for videos without actions, those that `prepare` would write."""
    if experiment.dataset.has_actions or experiment.dataset.is_prepared():
        return read_prepared(experiment.dataset, experiment.arguments)
    return with_inputs(experiment).dataset.collect()


def _report_plan(experiment: Experiment, config: EncoderConfig, shard: Shard | None, *, overwrite: bool) -> int:
    """Reports the remaining work and anything missing; starts and writes nothing."""
    spacing, dtype, machine = experiment.features.spacing, experiment.features.dtype, experiment.machine
    videos, store = _share(_as_prepared(experiment), shard), FeatureStore(_store_folder(experiment))
    again = set(videos if overwrite else stale(store, sources_of(videos)))
    to_do = [video for video in videos.values() if not store.has(video.id) or video.id in again]
    missing = [*_missing_files(to_do), *_refusal(lambda: choose_device(machine.device))]
    missing += _refusal(lambda: check_installed(machine.reader, config.frame_steps()))
    try:
        encoder = _encoder(experiment, config)
        missing += [] if overwrite else _refusal(lambda: store.check_recipe(recipe(encoder, spacing, dtype)))
        paths = {video.id: video.file for video in to_do if video.file is not None}
        missing += _refusal(lambda: encoder.check_videos(paths))
    except UserError as error:
        missing.append(str(error))
        outline = _outline(config)
    else:
        outline = encoder
    gigabytes = None
    if outline is not None:
        missing += _refusal(lambda: check_clips(outline, spacing))
        values = outline.channels * vectors_per_clip(outline, spacing)
        shortage = space_shortage_of(store, to_do, values, spacing, dtype, machine)
        missing += [str(shortage)] if shortage else []
        gigabytes = sum(estimated_bytes(to_do, values, spacing, dtype)) / 1e9
    size = "a size unknown without the encoder's weights" if gigabytes is None else f"about {gigabytes:.3f} GB"
    seconds, free = sum(durations(to_do).values()), free_bytes(store.folder) / 1e9
    console.result(f"{console.count(len(videos), 'video')}, {len(videos) - len(to_do)} of them done")
    work = f"{console.count(len(to_do), 'video')} of {console.duration(seconds)} in all; features of {size}"
    console.result(f"To do: {work}; {free:.1f} GB free in {store.folder}")
    for problem in missing:
        console.result(f"Missing: {problem}")
    console.emit(
        "plan", videos=len(videos), to_do=len(to_do), hours=seconds / 3600, gigabytes=gigabytes, missing=missing
    )
    return UserError.status if missing else 0


def _outline(config: EncoderConfig) -> ClipEncoder | None:
    """The encoder without values in its weights; None where it cannot be built without its weights file."""
    try:
        with torch.device("meta"):
            return config.network()
    except UserError:
        return None


def _missing_files(videos: list[AnnotatedVideo]) -> list[str]:
    gone = sorted(video.id for video in videos if video.file is None or not video.file.exists())
    if not gone:
        return []
    return [f"{console.count(len(gone), 'video')} to do without a file: {console.first_ten(gone)}"]


def _refusal(check: Callable[[], object]) -> list[str]:
    """The message of the error that `check` raises; none if it passes."""
    try:
        check()
    except ActlocError as error:
        return [str(error)]
    return []


def _report_end(
    experiment: Experiment,
    store: FeatureStore,
    videos: dict[str, AnnotatedVideo],
    failed: list[FailureRow],
    shard: Shard | None,
) -> int:
    done = len(videos) - len(failed)
    share, option = (f" of shard {shard.text}", f" --shard {shard.text}") if shard else ("", "")
    console.emit("done", path=str(store.folder), videos=done, failed=len(failed))
    if failed:
        again = f"actloc extract-features {experiment.arguments}{option}"
        return report_failures(store, len(videos), failed, again, str(shard or ""))
    console.result(f"{store.folder}: features of {console.count(done, 'video')}{share}")
    if shard:
        console.say(f"Next, when all shards are done: actloc extract-features {experiment.arguments} --dry-run")
    elif experiment.features.trains_encoder and not _is_for_bank(experiment):
        console.say(
            f"To train on them, set features.name=stored and features.path={store.folder} in a config of your own"
        )
        console.say(f"To pack them into one file: actloc export {shlex.quote(str(store.folder))} FILE.h5")
    elif experiment.dataset.has_actions:
        console.say(f"Next: actloc train {experiment.arguments}")
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
