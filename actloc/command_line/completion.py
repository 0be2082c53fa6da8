"""What a shell offers after the Tab key: configs, runs and settings; imports no torch."""


def configs(incomplete: str) -> list[str]:
    """The names of configs and recipes."""
    from actloc import experiment, recipes

    return _starting_with(incomplete, [path.stem for path in [*experiment.configs(), *recipes.available()]])


def runs(incomplete: str) -> list[str]:
    """The run folders below ckpt/."""
    from actloc import experiment

    return _starting_with(incomplete, [str(run) for run in experiment.runs()])


def configs_and_runs(incomplete: str) -> list[str]:
    """Both."""
    return [*configs(incomplete), *runs(incomplete)]


def settings(incomplete: str) -> list[str]:
    """`schedule.epochs=` and its like, of the sections that every config has."""
    from actloc.experiment import setting_names

    return _starting_with(incomplete, [f"{name}=" for name in setting_names()])


def kinds(incomplete: str) -> list[str]:
    """What `actloc ls` lists."""
    from actloc.commands.list_ import KINDS

    return _starting_with(incomplete, KINDS)


def _starting_with(incomplete: str, names: list[str] | tuple[str, ...]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
