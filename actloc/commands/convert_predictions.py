"""`actloc convert-predictions IN OUT --form FORM`: predictions of `eval` or `predict` as a challenge takes them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from actloc import console, files
from actloc.errors import UserError
from actloc.evaluation import stored_predictions
from actloc.prediction_forms.base import KIND, PredictionFormConfig
from actloc.reports import outputs
from actloc.settings import parts, yaml_text
from actloc.settings.validation import missing_inputs, validated

_SECTION = "form"


def run(
    source: Path,
    target: Path,
    form: str,
    overrides: Sequence[str],
    code: Sequence[Path] = (),
    *,
    overwrite: bool = False,
) -> int:
    """Checks the form and its settings, which may be mistyped, before anything is read."""
    parts.use_code(code)
    wanted = _checked(form, overrides)
    if not source.exists():
        raise UserError(
            f"{source} does not exist.", "Expected a run, a folder of results, or a file.", "Check the path."
        )
    outputs.refuse_others(
        [target], overwrite=overwrite, fix="" if overwrite else "Add --overwrite, or choose another OUT."
    )
    predictions = stored_predictions.read(source)
    text = wanted.text(predictions)
    files.make_folder(target.parent)
    with outputs.recording([target]):
        files.write_text(target, text)
    parts.warn_of_unused_code()
    number = sum(map(len, predictions.values()))
    console.result(
        f"Wrote {target}: {wanted.title}, from {console.count(number, 'prediction')} in "
        f"{console.count(len(predictions), 'video')}"
    )
    console.emit("done", path=str(target), form=wanted.name, videos=len(predictions), predictions=number)
    return 0


def _checked(form: str, overrides: Sequence[str]) -> PredictionFormConfig:
    name, known = form.replace("-", "_").lower(), parts.names(KIND)
    if name not in known:
        raise UserError(
            f"--form {form} is no form of predictions{console.nearest(name, known, lists_known=False)}",
            f"Expected one of {', '.join(one.replace('_', '-') for one in known)}.",
            f"List them: actloc ls {KIND}; a form of your own is loaded with --code FILE",
        )
    config: type[PredictionFormConfig] = parts.find(KIND, name).Config
    document = yaml_text.of_overrides([f"{_SECTION}.{one}" for one in overrides])

    def suggest(key: str, names: Iterable[str]) -> str:
        return console.nearest(key.rpartition(".")[2], names)

    found: PredictionFormConfig | None = validated(document, _SECTION, config, suggest)
    if found is not None:
        document.problems += missing_inputs(document, (_SECTION,), found)
    if found is None or document.problems:
        lines = [one.what.removeprefix(f"{_SECTION}.") for one in document.problems]
        needs = f", as in {config.example}" if config.example else ""
        settings = [key for key in config.model_fields if key != "name"]
        raise UserError(
            f"{console.count(len(lines), 'setting')} of {form} cannot be used:\n  {console.first_lines(lines)}",
            f"Expected {', '.join(settings) or 'no setting'}{needs}.",
            "Add them after OUT, as KEY=VALUE; actloc convert-predictions --help has an example.",
        )
    return found
