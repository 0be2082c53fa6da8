"""The commands that repeat a run from its data to its report, for a shell."""

import json
import re
import shlex
from typing import Any

from actloc.evaluation.results import ResultsHead
from actloc.reports.run_settings import Settings
from actloc.reports.runs import RunRecord, as_used
from actloc.reports.text import one_line

PATHS = (
    *("dataset.annotations", "dataset.blocked", "dataset.class_names", "dataset.classes", "dataset.clips"),
    *("dataset.folder", "dataset.frame_rates", "dataset.labels", "dataset.metadata", "dataset.raw"),
    *("dataset.test_list", "dataset.training_list", "dataset.validation_list", "dataset.videos"),
    *("dataset.annotated", "dataset.video_info", "encoder.flow_weights", "encoder.global_features"),
    *("encoder.raft_weights", "encoder.weights", "features.path", "features.more_paths", "features.bank"),
    *("fusion.scores", "training.initialise"),
)
"""The settings that name files and folders, by their last two words: another machine may have them elsewhere."""
_MARKS = r"\s:#{}\[\],&*!|>'\"%@`"  # they mean something in YAML
_PLAIN = re.compile(rf"(?!(?:null|true|false|none|~)$)[A-Za-z_./][^{_MARKS}]*(?: [^{_MARKS}]+)*", re.IGNORECASE)
_PREDICTIONS = re.compile(r"predictions (.*), sha256 \w+")


def commands(record: RunRecord, results: ResultsHead) -> list[str]:
    """The lines to type: comments for the code, then each command with the run's paths, seed and settings.

    The settings file is a copy of the run's own, so that the commands make another run beside it.
    """
    if not record.chosen:
        return _of_unknown_settings(record)
    file, again = f"{results.name}.yaml", f"{results.name}_again"
    options = [word for path in record.code for word in ("--code", path)]
    made = [f"run.name={again}"] + [f"run.seed={results.seed}"] * (results.seed is not None)
    shared = [file, *made, *_typed({key: value for key, value in record.chosen.items() if _is_path(key, value)})]
    predictions = _PREDICTIONS.fullmatch(results.checkpoint)
    scored_with = as_used(record, results)
    scoring = _typed({key: value for key, value in scored_with.items() if record.chosen.get(key, value) != value})
    scoring += _typed({key: value for key, value in results.changed.items() if key not in record.chosen})
    if results.subset != record.chosen.get("dataset.evaluation_subset", results.subset):
        scoring.append(f"dataset.evaluation_subset={_value(results.subset)}")
    if results.weights is None and predictions is None:
        scoring.append(f"evaluation.weights_file={results.checkpoint}")
    steps = [["prepare", *shared, *options]]
    if _needs_features(record.chosen):
        steps.append(["extract-features", *shared, *options])
    if results.weights is not None:
        steps.append(["train", *shared, *options])
    given = [] if predictions is None else ["--predictions", predictions[1]]
    steps.append(["eval", *dict.fromkeys([*shared, *scoring]), *given, *options])
    steps.append(["report", f"{record.chosen.get('run.folder', 'ckpt')}/{again}"])
    trained = [f"# Trained by: {one_line(record.command)}"] if record.command else []
    made_with = f"actloc {results.version}, {_commit(results.commit or '')}; run on {results.machine}"
    return [
        f"# {one_line(made_with)}",
        *trained,
        "# The settings file is this copy, or the text below under this name; change the paths where yours differ.",
        shlex.join(["cp", str(record.run / "config.yaml"), file]),
        *(shlex.join(["actloc", *step]) for step in steps),
    ]


def _of_unknown_settings(record: RunRecord) -> list[str]:
    options = [word for path in record.code for word in ("--code", path)]
    train = [record.command] if record.command else []
    return [
        "# The settings are not known: config.yaml is missing or damaged.",
        *train,
        shlex.join(["actloc", "eval", str(record.run), *options]),
        shlex.join(["actloc", "report", str(record.run)]),
    ]


def _commit(commit: str) -> str:
    number, _, changes = commit.partition("+")
    if not number:
        return "commit unknown"
    return f"commit {number}" + (", and changes that are in no commit" if changes else "")


def _is_path(key: str, value: Any) -> bool:  # Any: a YAML value
    return bool(value) and ".".join(key.split(".")[-2:]) in PATHS


def _typed(settings: Settings) -> list[str]:
    """Settings as words of a command."""
    return [f"{key}={_value(value)}" for key, value in settings.items()]


def _value(value: Any) -> str:  # Any: a YAML value
    """The value as YAML on one line; text in quotes where YAML would read something else."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _needs_features(settings: Settings) -> bool:
    """Whether `extract-features` comes before `train`: features of an encoder, or a bank that starts from some."""
    is_stored = settings.get("features.name") == "stored" and bool(settings.get("features.encoder.name"))
    return is_stored or (settings.get("features.others") == "bank" and bool(settings.get("features.bank")))
