"""Where the features are that a memory bank starts from."""

from actloc.errors import UserError
from actloc.experiment import Experiment


def check_place(experiment: Experiment) -> None:
    """Raises UserError if the features that a bank starts from are in the run's folder, with which they would go."""
    folder = experiment.features.bank_store
    if folder is not None and experiment.run_folder.resolve() in folder.resolve().parents:
        raise UserError(
            f"features.bank is {folder}, in the folder of the run.",
            f"Expected a folder outside of {experiment.run_folder}, which --overwrite empties.",
            "Set features.bank=ANOTHER, and move the features there if you have them.",
        )
