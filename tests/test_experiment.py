from pathlib import Path

import pytest

from actloc import experiment
from actloc.errors import UserError
from actloc.settings.sameness import differences
from tests.test_configs import LEFT_OPEN

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
        loaded = experiment.load(str(file), list(LEFT_OPEN.get(file.stem, ())))
        assert loaded.run.name == file.stem


def test_a_misspelt_key_is_reported_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    text = CONFIG.read_text().replace("  learning_rate: 1e-3", "  learnig_rate: 1e-3")
    message = complaint(text=text, folder=tmp_path)
    line = line_of(text, "learnig_rate")
    assert f"mine.yaml:{line}: optimizer.learnig_rate is not a setting. Did you mean learning_rate?" in message


def test_all_problems_are_reported_together() -> None:
    message = complaint(
        "optimizer.learnig_rate=1e-4",
        "detector.dimm=3",
        "training.batch_size=true",
        "evaluation.tious=[0.3,2]",
        "optimizer.name=adamm",
        "features.encoder.name=eficientnet_lite0",
        "schedules.epochs=3",
    )
    assert "7 settings are wrong" in message
    for part in (
        "optimizer.learnig_rate is not a setting. Did you mean learning_rate?",
        "detector.dimm is not a setting. Did you mean dim?",
        "training.batch_size: found true, expected a valid integer",
        "evaluation.tious[1]: found 2, expected less than 1",
        "optimizer.name: found \"adamm\", expected 'adamw', 'adam' or 'sgd'. Did you mean adam?",
        "encoder.name: 'eficientnet_lite0' is not one of encoders. Did you mean efficientnet_lite0?",
        "schedules is not a section. Did you mean schedule?",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("training.epochs=3", "training.epochs is not a setting. Did you mean schedule.epochs?"),
        ("epochs=10", "epochs is not a setting. Did you mean schedule.epochs?"),
        ("lr=1", "lr is not a setting. Did you mean optimizer.learning_rate?"),
        ("optimizer.lr=1", "optimizer.lr is not a setting. Did you mean learning_rate?"),
        ("model.epochs=3", "model.epochs is not a setting. Did you mean schedule.epochs?"),
        ("machine.dim=3", "machine.dim is not a setting. Did you mean detector.dim?"),
        ("schedules.epochs=3", "schedules is not a section. Did you mean schedule?"),
        ("frobnicator=3", "frobnicator is not a section; the sections of the task localization are task, run, dataset"),
        (
            "machine.device=gpu",
            'machine.device: found "gpu", expected auto (the GPU if there is one), cpu, cuda or cuda:1',
        ),
        (
            "machine.device=0",
            'machine.device: found "0", expected auto (the GPU if there is one), cpu, cuda or cuda:1',
        ),
        ("optimizer=adam", 'optimizer: found "adam", expected a block of settings, optimizer.KEY=VALUE'),
    ],
)
def test_a_wrong_setting_on_the_command_line_is_answered_across_all_sections(typed: str, answer: str) -> None:
    message = complaint(typed)
    assert f"command line: {answer}" in message
    assert "pattern" not in message
    assert message.splitlines()[-1] == f"  Every setting with its meaning: actloc show {CONFIG}"


def test_what_to_do_about_a_wrong_setting_names_a_config_that_can_be_shown(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        experiment.load("own_videos", ["schedule.epoch=3"])
    assert caught.value.fix.endswith("actloc show own_videos")
    text = Path("configs/own_videos.yaml").read_text().replace("epochs:", "epoch:")
    file = tmp_path / "mine.yaml"
    file.write_text(text)  # `show mine.yaml` would meet the same mistake
    with pytest.raises(UserError) as caught:
        experiment.load(str(file))
    assert caught.value.fix.endswith("actloc show own_videos")


@pytest.mark.parametrize("dataset", ["spliced_clips", "custom_clips"])
def test_what_to_do_about_a_wrong_setting_names_a_config_of_the_same_task(tmp_path: Path, dataset: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"task: {{name: recognition}}\ndataset: {{name: {dataset}, folder: {tmp_path}}}\nepochs: 3\n")
    with pytest.raises(UserError) as caught:
        experiment.load(str(file))
    shown = caught.value.fix.rpartition("actloc show ")[2]
    assert experiment.load(shown).task.name == "recognition"


def test_how_many_frames_a_recogniser_takes_is_said(tmp_path: Path) -> None:
    text = Path("configs/sample_dualformer_recognition.yaml").read_text()
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("  frames: 8\n  sampling", "  sampling"))
    with pytest.raises(UserError) as caught:
        experiment.load(str(file))
    answer = "expected a multiple of 8: the encoder dualformer takes any"
    assert f"clips.frames: found null, {answer}" in caught.value.found


AGNOSTIC = "dataset.class_agnostic=true"
NULLABLE = [
    "training.validation_subset", "schedule.stop_after_epochs", "machine.decoders", "machine.clip_batch",
    "evaluation.weights_file", "fusion.scores", "features.crop_ratio", "features.resize_to", "features.decode_fps",
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["fusion.scores=own"], "because detector.name=actionformer gives no class scores"),
        (["fusion.scores=own", "detector={name: afsd}", "dataset.class_agnostic=true"], "dataset.class_agnostic=true"),
    ],
)
def test_own_class_scores_need_a_detector_that_gives_them(settings: list[str], reason: str) -> None:
    found = complaint(*settings)
    assert "fusion.scores: found own, expected a FILE, truth or null, because" in found
    assert reason in found
    loaded = experiment.load(str(CONFIG), ["fusion.scores=own", "detector={name: afsd}"])
    assert loaded.fusion.scores == "own"


def test_settings_of_a_segment_classifier_need_several_classes() -> None:
    found = complaint("detector={name: etad, classifier_dim: 64}", "dataset.class_agnostic=true")
    assert "detector.classifier_dim: found 64, which has no effect because dataset.class_agnostic=true" in found
    for settings in (["detector={name: etad, classifier_dim: 64}"], ["detector={name: etad}", AGNOSTIC]):
        assert experiment.load(str(CONFIG), settings).detector.name == "etad"
    assert experiment.load(str(CONFIG), ["detector={name: etad}", "fusion.scores=own"]).fusion.scores == "own"


def test_suppression_between_windows_needs_windows() -> None:
    found = complaint("suppression.method=between_windows")
    assert "suppression.method: found between_windows, which has no effect because features" in found
    settings = ["suppression.method=between_windows", "features.window_steps=64"]
    assert experiment.load(str(CONFIG), settings).suppression.method == "between_windows"


def test_the_older_name_of_class_scores_beside_the_newer_one_is_answered_with_it() -> None:
    assert "fusion.file is not a setting. Did you mean scores?" in complaint("fusion.scores=truth", "fusion.file=null")
    assert experiment.load(str(CONFIG), ["fusion.file=a.json"]).to_data()["fusion"]["scores"] == "a.json"


@pytest.mark.parametrize("word", ["null", "none", "None", "~"])
def test_none_is_null_wherever_a_setting_may_be_null_and_is_no_free_text(word: str) -> None:
    free_text = NULLABLE[0]
    loaded = experiment.load(str(CONFIG), [f"{name}={word}" for name in NULLABLE if name != free_text])
    for name in NULLABLE[1:]:
        section, key = name.split(".")
        assert getattr(getattr(loaded, section), key) is None, name
    subset = experiment.load(str(CONFIG), [f"{free_text}={word}"]).training.validation_subset
    assert subset == (None if word in ("null", "~") else word)


def test_none_stays_a_choice_of_its_own_and_is_not_null_where_null_is_no_value() -> None:
    assert experiment.load(str(CONFIG), ["suppression.method=none"]).suppression.method == "none"
    assert 'schedule.epochs: found "none", expected a valid integer' in complaint("schedule.epochs=none")


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


def test_a_key_may_be_given_once(tmp_path: Path) -> None:
    text = CONFIG.read_text() + "\nsuppression:\n  sigma: 0.4\n"
    first, second = line_of(text, "suppression:"), len(text.splitlines()) - 1
    assert f"mine.yaml:{second}: suppression is given twice, first in line {first}" in complaint(
        text=text, folder=tmp_path
    )


def test_a_tag_that_builds_an_object_is_refused_with_its_line(tmp_path: Path) -> None:
    text = CONFIG.read_text().replace("sigma: 0.5", 'sigma: !!python/object/apply:os.system ["touch pwned"]')
    message = complaint(text=text, folder=tmp_path)
    assert f"mine.yaml:{line_of(text, 'sigma:')}: suppression.sigma the tag" in message
    assert "python/object/apply" in message
    assert not Path("pwned").exists()


def test_aliases_do_not_expand_for_ever(tmp_path: Path) -> None:
    levels = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8))
    assert "expands to more than" in complaint(text=f"a0: &a0 [1, 2]\n{levels}\n", folder=tmp_path)


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    assert "mine.yaml:3: not valid YAML" in complaint(text="dataset:\n  name: [custom\nrun: {}\n", folder=tmp_path)


def test_a_missing_input_is_reported_with_line_and_nearest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.fixture
def two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("own_v1", "own_v2"):
        folder = tmp_path / "ckpt" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(CONFIG.read_text())
        (folder / "environment.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["own_v2", "ckpt/own_v2"])
def test_a_run_is_found_by_its_bare_name_too(two_runs: Path, name: str) -> None:
    assert experiment.find(name) == Path("ckpt/own_v2/config.yaml")
    assert experiment.load(name).run_folder == Path("ckpt/own_v2")
    assert experiment.run_folder(name) == Path("ckpt/own_v2")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("ckpt/own_v3", ["ckpt/own_v3 is not a run. Did you mean ckpt/own_v2?", "ckpt/own_v1, ckpt/own_v2"]),
        ("ckpt/nothing", ["ckpt/nothing is not a run.", "Expected a run: ckpt/own_v1, ckpt/own_v2"]),
        ("ckpt/own_videos", ["Train it first: actloc train own_videos"]),
        ("ckpt", ["ckpt is not a run; it is a folder of runs.", "Name one: ckpt/own_v1, ckpt/own_v2"]),
        ("nothing", ["Runs: own_v1, own_v2. Configs: activitynet13_i3d_actionformer"]),
        ("configs/own_vidoes.yaml", ["configs/own_vidoes.yaml does not exist. Did you mean own_videos.yaml?"]),
        ("notes.md", ["notes.md is not a settings file.", "whose name ends in .yaml"]),
    ],
)
def test_a_name_that_is_nothing_is_answered_with_what_there_is(two_runs: Path, name: str, parts: list[str]) -> None:
    Path("notes.md").write_text("- [x\n")
    with pytest.raises(UserError) as caught:
        experiment.load(name)
    for part in parts:
        assert part in str(caught.value)


def test_overrides_win_and_must_be_key_value() -> None:
    assert experiment.load(str(CONFIG), ["schedule.epochs=3"]).schedule.epochs == 3
    assert "expected a setting such as schedule.epochs=3" in complaint("schedule.epochs")
    assert "Put the value in quotes." in complaint("run.name=[a")


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
    assert "features.encoder.stream" in weights[0]


OLDER = """\
dataset: {name: video_folder, folder: prepared, videos: videos}
encoder:
  name: color
  short_side: 48
features: {name: stored, path: features, fps: 8, clip_frames: 2, stride_frames: 2}
"""


def test_the_encoders_own_block_of_older_files_is_read_as_that_of_the_features(tmp_path: Path) -> None:
    older, now = tmp_path / "older.yaml", tmp_path / "now.yaml"
    older.write_text(OLDER)
    block = "{name: color, short_side: 48}"
    now.write_text(
        OLDER.replace("{name: stored", f"{{name: stored, encoder: {block}").replace(
            "encoder:\n  name: color\n  short_side: 48\n", "", 1
        )
    )
    assert experiment.load(str(older)).features == experiment.load(str(now)).features
    for file in (older, now):
        for name in ("encoder.crop", "features.encoder.crop"):
            encoder = experiment.load(str(file), [f"{name}=24"]).features.encoder
            assert encoder is not None
            assert encoder.model_dump()["crop"] == 24
    older.write_text(OLDER.replace("48", "-1"))
    with pytest.raises(UserError, match=r"older.yaml:4: features.encoder.short_side: found -1"):
        experiment.load(str(older))
    older.write_text(OLDER.replace("{name: stored", f"{{name: stored, encoder: {block}"))
    with pytest.raises(UserError, match=r"older.yaml:2: encoder is the older place of features.encoder; keep one"):
        experiment.load(str(older))
