"""`actloc verify PATH`: checks a store, run folder or checkpoint against its own checksums."""

from pathlib import Path

from actloc import console
from actloc.errors import UserError


def run(path: Path) -> int:
    """Exit status 0 when everything is intact; a UserError names each thing that is damaged."""
    checked, wrong = _check(path)
    if wrong:
        listed = "\n  ".join(wrong)
        raise UserError(
            f"{len(wrong)} of {checked} in {path} {'is' if len(wrong) == 1 else 'are'} damaged:\n  {listed}",
            "Their contents do not match their checksums.",
            "Delete what is listed above and run the command that made it again.",
        )
    console.result(f"{path}: {checked} checked, all intact")
    console.emit("done", path=str(path), checked=checked)
    return 0


def _check(path: Path) -> tuple[int, list[str]]:
    """The number of videos or checkpoints checked, and the problems; a run's checkpoints may have rows in its bank."""
    from actloc.store.store import FeatureStore

    if (path / "store.json").is_file():
        store = FeatureStore(path)
        return len(store.ids()), store.verify()
    from actloc.training import checkpoint

    folders = [path] if (path / "manifest.json").exists() or path.name.startswith("ckpt_") else checkpoint.steps(path)
    if not folders or not path.is_dir():
        raise UserError(
            f"{path} is not a feature store, a run folder with checkpoints or a checkpoint.",
            "Expected a folder that actloc wrote.",
            "See the runs: actloc ls runs; `features.path` of a config names its store: actloc show CONFIG",
        )
    wrong = [f"{folder}: {problem}" for folder in folders for problem in checkpoint.problems(folder)]
    stores = [FeatureStore(file.parent) for file in sorted(path.glob("bank/*/store.json"))]
    wrong += [f"{store.folder}: {problem}" for store in stores for problem in store.verify()]
    return len(folders) + sum(len(store.ids()) for store in stores), wrong
