"""The loss curve of a run, and what follows from it."""

from actloc import files
from actloc.experiment import Experiment
from actloc.runs.record import training_size
from actloc.training import summary


def history_and_advice(experiment: Experiment) -> tuple[summary.History, list[str]]:
    """What the run's log holds, and what to do if the loss, or the result, is not good enough."""
    folder, schedule = experiment.run_folder, experiment.schedule
    history = summary.history(files.read_json_lines(folder / "log.jsonl", skip_damaged=True))
    name = "epochs" if schedule.stop_after_epochs is None else "stop_after_epochs"
    advice = summary.advice(
        history,
        longer=f"schedule.{name}={2 * getattr(schedule, name)}",
        learning_rate=experiment.optimizer.learning_rate,
        size=training_size(folder),
    )
    return history, advice
