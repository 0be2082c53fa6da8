"""`actloc extract-features CONFIG`: videos in, one file of features per video out; a second run does what is left."""

from actloc.datasets.base import read_prepared
from actloc.errors import UserError
from actloc.experiment import Experiment, with_inputs
from actloc.extraction import preparing
from actloc.extraction.plan import Shard
from actloc.runs import chosen_checkpoint
from actloc.runs import extraction_request as request
from actloc.store.store import FeatureStore


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
    if engine == "ray" and experiment.features.trains_encoder and not request.is_for_bank(experiment):
        raise UserError(
            f"--engine ray was given, and {experiment.typed} trained its encoder.",
            "Expected the local engine: the machines of a cluster load an encoder's published weights.",
            f"Run: actloc extract-features {experiment.run_folder}; divide the work with --shard",
        )
    if engine == "ray":
        from actloc.extraction import ray_cluster  # here, because it imports torch

        ray_cluster.check_installed()
    encoder_config = request.encoder_config(experiment)
    own = None if shard is None else Shard.parse(shard)
    if dry_run:
        from actloc.commands import extraction_plan  # here, because it imports torch

        return extraction_plan.report(experiment, encoder_config, own, overwrite=overwrite)
    if own and overwrite:
        raise UserError(
            "--overwrite and --shard were given together.",
            "Expected one of them: --overwrite in one shard would delete the other shards' work.",
            f"Delete {request.store_folder(experiment)}, then start all shards",
        )
    preparing.where_needed(experiment.dataset, experiment.preparation, lambda: with_inputs(experiment))
    videos = request.share(read_prepared(experiment.dataset, experiment.arguments), own)
    store = FeatureStore(request.store_folder(experiment))
    if experiment.features.trains_encoder and not request.is_for_bank(experiment):
        chosen_checkpoint.check(experiment)
    if store.recipe() is None:  # of a complete store no video is needed
        request.check_files(experiment, videos)
    if not experiment.features.trains_encoder or request.is_for_bank(experiment):
        encoder_config.require_weights()
    # imported after the checks, which answer faster without torch
    from actloc.commands import extracting

    changes = {"overwrite": overwrite, "allow_changed_code": allow_changed_code}
    return extracting.extract_into(store, experiment, encoder_config, videos, own, engine, **changes)
