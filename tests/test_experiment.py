from pathlib import Path

import pytest

from actloc import experiment
from actloc.errors import UserError
from actloc.settings.sameness import differences

CONFIG = Path("configs/sample_efficientnet_actionformer.yaml")


def complaint(*overrides: str, text: str | None = None, folder: Path | None = None) -> str:
    name = str(CONFIG)
    if text is not None:
        assert folder is not None
        file = folder / "mine.yaml"
        file.write_text(text)
        name = str(file)
    with pytest.raises(UserError) as caught:
        experiment.load(name, list(overrides))
    return str(caught.value)


def line_of(text: str, start: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith(start))


def test_every_shipped_config_loads() -> None:
    for file in experiment.configs():
        loaded = experiment.load(str(file))
        assert loaded.run.name == file.stem


def test_a_misspelt_key_is_told_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    text = CONFIG.read_text().replace("  learning_rate: 1e-3", "  learnig_rate: 1e-3")
    told = complaint(text=text, folder=tmp_path)
    line = line_of(text, "learnig_rate")
    assert f"mine.yaml:{line}: optimizer.learnig_rate is not a setting. Did you mean learning_rate?" in told


def test_all_problems_are_told_together() -> None:
    told = complaint(
        "optimizer.learnig_rate=1e-4",
        "detector.dimm=3",
        "training.batch_size=true",
        "evaluation.tious=[0.3,2]",
        "optimizer.name=adam",
        "encoder.name=eficientnet_lite0",
        "schedules.epochs=3",
    )
    assert "7 settings are wrong" in told
    for part in (
        "optimizer.learnig_rate is not a setting. Did you mean learning_rate?",
        "detector.dimm is not a setting. Did you mean dim?",
        "training.batch_size: found true, expected a valid integer",
        "evaluation.tious[1]: found 2, expected less than 1",
        "optimizer.name: found \"adam\", expected 'adamw' or 'sgd'. Did you mean adamw?",
        "encoder.name: 'eficientnet_lite0' is not one of encoders. Did you mean efficientnet_lite0?",
        "schedules is not a section. Did you mean schedule?",
    ):
        assert part in told


@pytest.mark.parametrize(("written", "meant"), [("1e-4", 1e-4), ("1E-4", 1e-4), (".5", 0.5), ("3", 3.0)])
def test_numbers_are_read_as_people_write_them(written: str, meant: float) -> None:
    loaded = experiment.load(str(CONFIG), [f"optimizer.learning_rate={written}"])
    assert loaded.optimizer.learning_rate == meant


def test_no_is_text_and_not_false() -> None:
    assert 'average.warm_up: found "no", expected a valid boolean' in complaint("average.warm_up=no")
    assert experiment.load(str(CONFIG), ["run.name=no"]).run.name == "no"


def test_leading_zeros_and_colons_have_no_hidden_meaning() -> None:
    assert experiment.load(str(CONFIG), ["run.seed=010"]).run.seed == 10
    assert 'run.seed: found "1:30"' in complaint("run.seed=1:30")


def test_a_key_may_stand_once(tmp_path: Path) -> None:
    text = CONFIG.read_text() + "\nsuppression:\n  sigma: 0.4\n"
    first, second = line_of(text, "suppression:"), len(text.splitlines()) - 1
    assert f"mine.yaml:{second}: suppression stands twice, first in line {first}" in complaint(
        text=text, folder=tmp_path
    )


def test_a_tag_that_builds_an_object_is_refused_with_its_line(tmp_path: Path) -> None:
    text = CONFIG.read_text().replace("sigma: 0.5", 'sigma: !!python/object/apply:os.system ["touch pwned"]')
    told = complaint(text=text, folder=tmp_path)
    assert f"mine.yaml:{line_of(text, 'sigma:')}: suppression.sigma the tag" in told
    assert "python/object/apply" in told
    assert not Path("pwned").exists()


def test_aliases_do_not_unfold_for_ever(tmp_path: Path) -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8))
    assert "unfolds to more than" in complaint(text=f"a0: &a0 [1, 2]\n{levels}\n", folder=tmp_path)


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    assert "mine.yaml:3: not valid YAML" in complaint(text="dataset:\n  name: [custom\nrun: {}\n", folder=tmp_path)


def test_a_missing_input_is_told_with_line_and_nearest_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CONFIG.read_text().replace("clips: data/sample", "clips: data/sampel")
    (tmp_path / "data" / "sample").mkdir(parents=True)
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        experiment.load("mine.yaml", check_inputs=True)
    line = line_of(text, "clips:")
    expected = f"mine.yaml:{line}: dataset.clips: the folder data/sampel does not exist. Did you mean sample?"
    assert expected in str(caught.value)


def test_an_unknown_config_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean sample_efficientnet_actionformer"):
        experiment.load("sample_eficientnet_actionformer")


def test_overrides_win_and_must_be_key_value() -> None:
    assert experiment.load(str(CONFIG), ["schedule.epochs=3"]).schedule.epochs == 3
    assert "expected key.key=value" in complaint("schedule.epochs")


def test_complete_settings_load_back_to_the_same_experiment(tmp_path: Path) -> None:
    loaded = experiment.load(str(CONFIG), ["optimizer.learning_rate=1e-8", "run.name=no"])
    (tmp_path / "again.yaml").write_text(loaded.to_yaml())
    again = experiment.load(str(tmp_path / "again.yaml"))
    assert again.to_data() == loaded.to_data()


def test_differences_name_what_shapes_training_and_nothing_else() -> None:
    old = experiment.load(str(CONFIG))
    new = experiment.load(
        str(CONFIG), ["optimizer.learning_rate=3e-4", "machine.num_workers=4", "evaluation.tious=[0.5]", "run.seed=1"]
    )
    assert differences(old.shaping("weights"), new.shaping("weights"), "in the run", "now") == [
        "optimizer.learning_rate: 0.001 in the run, 0.0003 now",
        "run.seed: 0 in the run, 1 now",
    ]


def test_a_weights_file_may_move() -> None:
    weights = [
        experiment.load("configs/features/i3d_25fps.yaml", [f"encoder.{name}=elsewhere/{name}.pt"]).shaping("weights")
        for name in ("weights", "flow_weights", "raft_weights")
    ]
    assert weights[0] == weights[1] == weights[2]
    assert "encoder.stream" in weights[0]


def test_a_part_of_your_own_is_found_by_its_dotted_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_detectors").mkdir()
    (tmp_path / "my_detectors" / "wide.py").write_text(
        "from actloc.detectors import actionformer\n\n\n"
        "class Config(actionformer.Config):\n    name: str = 'my_detectors.wide'\n    extra: int = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    loaded = experiment.load(str(CONFIG), ["detector.name=my_detectors.wide", "detector.extra=2"])
    assert loaded.detector.name == "my_detectors.wide"
    assert loaded.detector.model_dump()["extra"] == 2
