"""Writes the results of a run for TensorBoard."""

from pathlib import Path

from actloc import files
from actloc.evaluation.results import ResultsHead


def write_board(folder: Path, results: ResultsHead) -> None:
    """Writes them into the folder of the results, in place of earlier ones; those of a predictions file are none.

    They are not among the training's curves: whoever follows these there would go on to the newer file.
    """
    for old in folder.glob("events.out.tfevents.*"):
        files.remove(old)
    if results.trained is None:
        return
    # imported here, because it imports torch, which scores of a predictions file do not need
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as board:
        for name, value in results.numbers().items():
            board.add_scalar(f"eval/{name}", value, results.trained.step)
