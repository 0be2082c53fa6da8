"""`actloc verify PATH`: checks a store, run folder or checkpoint against its own checksums."""

from pathlib import Path

from actloc import console
from actloc.errors import UserError


def run(path: Path) -> int:
    """Exit 0 when everything is whole; a UserError names each thing that is not."""
    checked, wrong = _check(path)
    if wrong:
        listed = "\n  ".join(wrong)
        raise UserError(
            f"{len(wrong)} of {checked} in {path} are damaged:\n  {listed}",
            "Their contents do not match their checksums.",
            "Delete what is named here and run the command that made it again.",
        )
    console.result(f"{path}: {checked} checked, all whole")
    console.emit("done", path=str(path), checked=checked)
    return 0


def _check(path: Path) -> tuple[int, list[str]]:
    """How many things were checked, and what is wrong with which."""
    if (path / "store.json").is_file():
        from actloc.store.store import FeatureStore

        store = FeatureStore(path)
        return len(store.ids()), store.verify()
    from actloc.training import checkpoint

    folders = [path] if (path / "manifest.json").exists() or path.name.startswith("ckpt_") else checkpoint.steps(path)
    if not folders or not path.is_dir():
        raise UserError(
            f"{path} is neither a feature store, nor a run folder with checkpoints, nor a checkpoint.",
            "Expected a folder that actloc made.",
            "See the runs: actloc ls runs; `features.path` of a config names its store: actloc show CONFIG",
        )
    wrong = [f"{folder}: {problem}" for folder in folders for problem in checkpoint.problems(folder)]
    return len(folders), wrong
