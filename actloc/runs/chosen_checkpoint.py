"""The checkpoint of a run that the settings choose, and whether they fit it; known without reading its weights."""

from pathlib import Path

from actloc.errors import UserError
from actloc.experiment import Experiment, load
from actloc.settings.sameness import differences
from actloc.training import checkpoint as checkpoints


def folder_of(experiment: Experiment) -> Path:
    """The folder of the checkpoint; raises UserError if the run has none."""
    is_best = experiment.section("evaluation").model_dump()["checkpoint"] == "best"
    return (checkpoints.best if is_best else checkpoints.last)(experiment.run_folder)


def check(experiment: Experiment) -> None:
    """Raises UserError if the run has no checkpoint, or was trained with other settings.

    An official file in place of a run is checked where it is read, as damaged files are.
    """
    if experiment.section("evaluation").model_dump()["weights_file"] is not None:
        return
    about = checkpoints.numbers(folder_of(experiment)).get("about")
    if isinstance(about, dict) and isinstance(about.get("settings"), dict):
        refuse_other_settings(experiment, about["settings"])


def refuse_other_settings(experiment: Experiment, trained: dict[str, object]) -> None:
    """Raises UserError if the network or the features differ from those that the run was trained with."""
    recorded = experiment.run_folder / "config.yaml"
    if recorded.is_file():  # loaded with today's defaults, so that settings newer than the run are not a difference
        trained = {**load(str(recorded)).shaping("weights"), **trained}
    now = experiment.shaping("detections")
    if "features.encoder" in trained and trained["features.encoder"] is None:
        # features made elsewhere: an encoder is named for new videos, and changes nothing of what was trained
        now = {key: value for key, value in now.items() if not key.startswith("features.encoder.")}
    differing = differences({key: trained.get(key) for key in now}, now, "in the run", "now")
    if differing:
        listed = "\n  ".join(differing)
        raise UserError(
            f"{experiment.run_folder} was trained with other settings:\n  {listed}",
            "Expected the settings that it was trained with.",
            f"Restore these settings, or name the run instead of its config: {experiment.run_folder}",
        )
