"""A model card: README.md beside the weights of a run, with the front matter that the Hugging Face hub reads.

What is not known is "not stated"; nothing is guessed. The form is that of the hub's page "Model cards": YAML between
two lines of dashes, with `model-index` for the numbers, then Markdown.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import actloc
from actloc import console, files
from actloc.annotations import annotated_time
from actloc.annotations import form as annotation_form
from actloc.annotations.model import Annotations
from actloc.errors import UserError
from actloc.evaluation.results import ResultsHead
from actloc.reports.cells import Cell, Table
from actloc.reports.run_settings import key_facts
from actloc.reports.runs import RunRecord, run_record
from actloc.reports.tables import as_markdown, settings_text
from actloc.reports.text import UNMEASURED, markdown, one_line, printable
from actloc.settings import parts

NAME = "README.md"
NOT_STATED = "not stated"
_WEIGHTS = ("averaged.safetensors", "weights.safetensors")
_UNKNOWN_TO_HUB = "unknown"
"""The hub's id of a licence that is not known."""
_SHOWN = (
    *("dataset.name", "features.name", "features.fps", "features.clip_frames", "features.stride_frames"),
    *("features.max_steps", "clips.sampling", "clips.frames", "preparation.videos", "training.precision"),
    *("suppression.method", "evaluation.weights", "evaluation.checkpoint", "evaluation.views"),
)
"""The settings in the card; all are in config.yaml."""


@dataclass(frozen=True)
class Metric:
    """One measured number, in percent."""

    name: str
    type: str
    """How the hub calls this kind of number."""
    value: float
    interval: tuple[float, float] | None = None
    """In percent; None where it was not measured."""


@dataclass(frozen=True)
class Measured:
    """What an evaluation measured."""

    folder: Path
    """Where metrics.json is."""
    results: ResultsHead
    scored: str
    """How much was scored: `8 videos, 49 actions`."""
    rules: str
    """By which rules: `protocol actionformer`."""
    metrics: Sequence[Metric]
    level: float | None
    """What share of intervals holds the true number; None without intervals."""
    tables: Sequence[Table]
    """The numbers of each class; first, where some were published, those beside the measured ones."""
    limits: Sequence[str]
    """What limits the numbers, a sentence each."""


@dataclass(frozen=True)
class Contents:
    """What a task says of a run in its card."""

    title: str
    """The task."""
    does: str
    """What the model does, as the end of a sentence that begins with it."""
    tags: Sequence[str]
    metrics: Sequence[str]
    """The hub's names of the kinds of numbers."""
    loop: Sequence[str]
    """The lines of Python that use what `predict` returns."""
    measured: Sequence[Measured]


def measured_on(run: Path, checkpoint: Path, name: str) -> list[Path]:
    """The folders of the results of a checkpoint of a run, those of the run's own settings first."""
    found = []
    for path in sorted(run.glob(f"eval/*/{name}"), key=lambda path: (len(path.parent.name), path)):
        content = files.read_json(path)
        if isinstance(content, dict) and content.get("checkpoint") == checkpoint.name:
            found.append(path.parent)
    return found


def in_percent(interval: Any) -> tuple[float, float] | None:  # Any: an interval of proportions, or None
    """Both ends in percent."""
    return None if interval is None else (100 * interval.low, 100 * interval.high)


def card(run: Path, checkpoint: Path, about: Mapping[str, Any], contents: Contents, license_id: str | None) -> str:
    """The text of the card of the weights in the folder `checkpoint` of a run.

    `about` is what the checkpoint says of itself: its classes, and the sha256 of the encoder's weights.
    """
    record, classes = run_record(run), [str(name) for name in about["classes"]]
    environment = _parsed(record.environment)
    annotations = _annotations(run)
    sections = [
        f"# {markdown(run.name)}",
        f"This model {contents.does} ({console.count(len(classes), 'class', 'classes')}). It was trained with actloc "
        f"{markdown(environment.get('actloc', NOT_STATED))}.",
        _use(run, checkpoint, contents, record, about.get("encoder_weights_sha256")),
        _classes(classes, annotations, record),
        _data(annotations, record, environment),
        _settings(record),
        "## Results",
        *(_numbers(measured) for measured in contents.measured),
        *([] if contents.measured else ["Not measured."]),
        _limits(contents, annotations, record),
        _licence(license_id, record),
        _made(record, environment, checkpoint, contents),
    ]
    return f"---\n{_front_matter(run, contents, record, license_id)}---\n\n" + "\n\n".join(sections) + "\n"


def _front_matter(run: Path, contents: Contents, record: RunRecord, license_id: str | None) -> str:
    encoder = record.chosen.get("features.encoder.name") or record.chosen.get("clips.encoder.name")
    detector = record.chosen.get("detector.name")
    data: dict[str, Any] = {  # Any: YAML values
        "license": license_id or _UNKNOWN_TO_HUB,
        "library_name": "actloc",
        "pipeline_tag": "video-classification",  # the nearest of the tasks that the hub knows
        "tags": ["actloc", *contents.tags, *(one_line(one) for one in (detector, encoder) if one)],
    }
    name = record.chosen.get("dataset.name")
    if name and not _is_own(str(name)):
        data["datasets"] = [one_line(name)]
    data["metrics"] = list(contents.metrics)
    fair = [one for one in contents.measured if one.metrics and not one.results.is_measured_on_training_videos()]
    results = [_indexed(contents.title, one) for one in fair]
    if results:
        data["model-index"] = [{"name": one_line(run.name), "results": results}]
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)


def _indexed(title: str, measured: Measured) -> dict[str, Any]:  # Any: YAML values
    results = measured.results
    variant = f", {results.variant}" if results.variant else ""
    name = one_line(f"{results.dataset}{variant}")
    dataset: dict[str, Any] = {"name": name, "type": one_line(results.dataset), "split": one_line(results.subset)}
    known = {"annotations_sha256": results.annotations_sha256} if results.annotations_sha256 else {}
    if known or results.changed:
        dataset["args"] = {**known, **results.changed}
    metrics = [{"type": one.type, "name": f"{one.name} (%)", "value": round(one.value, 4)} for one in measured.metrics]
    return {"task": {"type": "video-classification", "name": title}, "dataset": dataset, "metrics": metrics}


def _use(run: Path, checkpoint: Path, contents: Contents, record: RunRecord, encoder_sha256: str | None) -> str:
    name = "RUN" if "`" in str(run) else one_line(run)
    options = "".join(f" --code {shlex.quote(path)}" for path in record.code)
    code = f", code={record.code!r}" if record.code else ""
    has_thresholds = record.chosen.get("prediction.threshold") == "best_f1"
    scored = [f"eval/{one.folder.name}/metrics.json" for one in contents.measured[:1]] if has_thresholds else []
    frozen = ["frozen.safetensors"] if (run / "frozen.safetensors").exists() else []
    named = ["config.yaml", "environment.json", f"{checkpoint.name}/", *frozen, *scored]
    needed = ", ".join(f"`{one}`" for one in named)
    call = f"actloc.load({name!r}{code}).predict({'new_video.mp4'!r})"
    encoder = record.chosen.get("features.encoder.name")
    if encoder and encoder_sha256 and record.chosen.get("features.name") != "encoded":
        made = f"Features of new videos are made by the encoder {markdown(encoder)}, whose weights are not in this file"
        needed += f". {made}: sha256 {encoder_sha256}"
    python = ["import actloc", "", f"for {contents.loop[0]} in {call}:", f"    {contents.loop[1]}"]
    return "\n".join(
        [
            "## Use",
            "",
            f"actloc reads the folder of the run, with {needed}.",
            "",
            "```sh",
            f"actloc predict {shlex.quote(name)} new_video.mp4{options}",
            "```",
            "",
            "```python",
            *map(printable, python),
            "```",
        ]
    )


def _classes(classes: Sequence[str], annotations: Annotations | None, record: RunRecord) -> str:
    subset = record.chosen.get("dataset.training_subset")
    videos = annotations.of_subset(str(subset)) if annotations and subset else []
    labels = [action.label for video in videos for action in video.actions]
    rows = [[Cell(name), Cell(str(labels.count(name)) if videos else UNMEASURED)] for name in classes]
    return "## Classes\n\n" + as_markdown(Table("Classes, in their order", ["class", "training examples"], 1, rows, []))


def _data(annotations: Annotations | None, record: RunRecord, environment: dict[str, Any]) -> str:
    lines = ["## Data", ""]
    name = record.chosen.get("dataset.name")
    variant = f", {annotations.variant}" if annotations and annotations.variant else ""
    lines.append(f"- Dataset: {markdown(f'{name}{variant}' if name else NOT_STATED)}")
    lines.append(f"- Annotations: sha256 {markdown(environment.get('annotations_sha256') or NOT_STATED)}")
    lines.append(f"- Licence of the data: {NOT_STATED}")
    if annotations is None:
        return "\n".join([*lines, f"- Videos and actions: {NOT_STATED}"])
    rows = []
    for subset in dict.fromkeys(video.subset for video in annotations.videos.values()):
        videos = annotations.of_subset(subset)
        actions = [action for video in videos for action in video.actions]
        known = [video.duration_s for video in videos if video.duration_s is not None]
        lengths = [action.end_s - action.start_s for action in actions]
        cells = [str(len(videos)), f"{sum(known) / 3600:.2f}" if len(known) == len(videos) else UNMEASURED]
        cells += [str(len(actions)), f"{max(lengths):.1f}" if lengths else UNMEASURED]
        rows.append([Cell(subset or "(none)"), *map(Cell, cells)])
    columns = ["subset", "videos", "hours", "actions", "longest action, s"]
    partly = annotated_time.summary(annotations)
    return "\n".join([*lines, "", as_markdown(Table("Subsets", columns, 1, rows, [f"{partly}."] if partly else []))])


def _settings(record: RunRecord) -> str:
    if not record.chosen:
        return f"## Settings\n\n{NOT_STATED.capitalize()}: config.yaml is missing or damaged."
    facts = [(name, value) for name, value in key_facts(record.chosen, None) if value]
    shown = [(key, record.chosen[key]) for key in _SHOWN if record.chosen.get(key) is not None]
    rows = [[Cell(name), Cell(one_line(value))] for name, value in [*facts, *shown]]
    return "## Settings\n\nAll are in [config.yaml](../config.yaml).\n\n" + as_markdown(
        Table("The most important", ["setting", "value"], 2, rows, [])
    )


def _numbers(measured: Measured) -> str:
    results = measured.results
    has_intervals = any(one.interval for one in measured.metrics)
    columns = ["", "measured, %", *([f"{100 * (measured.level or 0):g} % interval"] if has_intervals else [])]
    rows = [
        [Cell(one.name), Cell(f"{one.value:.2f}"), *([_interval(one)] if has_intervals else [])]
        for one in measured.metrics
    ]
    caption = ["Measured here, with " + measured.rules + "."]
    if has_intervals:
        caption.append("The intervals come from drawing the videos of the subset again and again (bootstrap).")
    elif measured.metrics:
        caption.append("95 % intervals: not measured.")
    changed = f", {settings_text(results.changed)}" if results.changed else ""
    title = f"{results.dataset} {results.subset}, {measured.scored}{changed}"
    tables = [Table(title, columns, 1, rows, caption), *measured.tables]
    return "\n".join(as_markdown(table) for table in tables)


def _interval(metric: Metric) -> Cell:
    found = metric.interval
    return Cell(UNMEASURED if found is None else f"{found[0]:.2f} to {found[1]:.2f}")


def _limits(contents: Contents, annotations: Annotations | None, record: RunRecord) -> str:
    lines = [limit for measured in contents.measured for limit in measured.limits]
    subset = record.chosen.get("dataset.training_subset")
    videos = annotations.of_subset(str(subset)) if annotations and subset else []
    actions = [action for video in videos for action in video.actions]
    if actions:
        longest = max(action.end_s - action.start_s for action in actions)
        learned = f"{console.count(len(videos), 'video')} with {console.count(len(actions), 'action')}"
        lines.append(f"It learned from {learned}; the longest action lasts {longest:.1f} s. It never saw a longer one.")
    num_partly = sum(bool(video.annotated) for video in videos)
    if num_partly:
        lines.append(f"Of {console.count(num_partly, 'training video')} it learned from the annotated time only.")
    for measured in contents.measured:
        lines.append(
            f"It was measured on {measured.results.subset} of {measured.results.dataset} ({measured.scored}). How good "
            "it is on other videos, such as of other cameras or places, is not known."
        )
    window_s = _window_s(record)
    if window_s:
        lines.append(f"It was trained on windows of up to {window_s:.0f} s.")
    if record.chosen.get("features.name") == "folders":
        lines.append("Its features were made elsewhere: new videos need the same features, made in the same way.")
    if not contents.measured:
        lines.append("It was not scored: how good it is, is not known.")
    return "## Limits\n\n" + "\n".join(f"- {markdown(line)}" for line in dict.fromkeys(lines))


def _window_s(record: RunRecord) -> float | None:
    """Seconds of the longest window of training; None where it is not known from the settings alone."""
    steps, stride, fps = (record.chosen.get(f"features.{key}") for key in ("max_steps", "stride_frames", "fps"))
    if not isinstance(fps, int | float) or not isinstance(stride, int) or not isinstance(steps, int):
        return None
    return steps * stride / fps


def _licence(license_id: str | None, record: RunRecord) -> str:
    lines = [f"- These weights: {markdown(license_id or NOT_STATED)}"]
    for block in ("features.encoder", "clips.encoder"):
        name = record.chosen.get(f"{block}.name")
        if name:
            known = _weights_license(str(name)) if not record.chosen.get(f"{block}.weights") else ""
            if record.chosen.get("network.start") == "random":
                known = "none, they were random"
            lines.append(f"- Weights that the encoder {markdown(name)} started from: {known or NOT_STATED}")
    return "## Licence\n\n" + "\n".join(lines)


def _made(record: RunRecord, environment: dict[str, Any], checkpoint: Path, contents: Contents) -> str:
    packages = environment.get("packages")
    versions = ", ".join(f"{name} {one}" for name, one in packages.items()) if isinstance(packages, dict) else ""
    results = [one.results for one in contents.measured]
    manifest = files.read_json(checkpoint / "manifest.json")
    sums = [f"{name} sha256 {sha256}" for name, sha256 in manifest.items() if name in _WEIGHTS]
    weights = results[0].weights if results else record.chosen.get("evaluation.weights")
    facts = [
        ("Command", record.command),
        ("Seed", record.chosen.get("run.seed")),
        ("Commit of actloc", environment.get("commit")),
        ("Machine", environment.get("machine")),
        ("Versions", f"Python {environment['python']}, {versions}" if environment.get("python") else None),
        ("Checkpoint", checkpoint.name),
        ("Weights in use", weights),
        ("Files", "; ".join(sums)),
        ("Evaluated", results[0].created if results else None),
        ("Card made with", f"actloc {actloc.__version__}"),
    ]
    own = [(f"Own code {path}", f"sha256 {sha256}") for one in results[:1] for path, sha256 in one.code.items()]
    rows = [f"- {markdown(name)}: {markdown(NOT_STATED if value is None else value)}" for name, value in [*facts, *own]]
    return "## How it was made\n\n" + "\n".join(rows)


def _parsed(environment: str | None) -> dict[str, Any]:  # Any: JSON values
    found = json.loads(environment or "{}")
    return found if isinstance(found, dict) else {}


def _annotations(run: Path) -> Annotations | None:
    """The run's copy of the annotations that it was trained on; None if there is none that can be read."""
    try:
        return annotation_form.read(run / "annotations.json")
    except UserError:
        return None


def _is_own(dataset: str) -> bool:
    """Whether the data is the user's own and not a dataset with a name; a part that is missing is unknown."""
    try:
        return bool(parts.find("datasets", dataset).Config.has_own_labels)
    except ValueError:
        return True


def _weights_license(encoder: str) -> str:
    try:
        return str(parts.find("encoders", encoder).Config.weights_license)
    except ValueError:
        return ""
