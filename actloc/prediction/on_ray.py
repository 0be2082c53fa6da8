"""`predict` on a Ray cluster: each actor has the run's networks and predicts whole videos.

Only the command's own process writes to the output folder. Ray restarts actors that die; an outcome that arrives twice
counts once. On machines of the same kind, results equal those of one machine to the last bit.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from actloc import console
from actloc.errors import ActlocError, EnvironmentProblem, UserError, VideoError
from actloc.extraction import ray_cluster
from actloc.extraction.ray_workers import machine_problem, refusal
from actloc.extraction.video_progress import PaceByBytes, VideoProgress
from actloc.prediction.base import Predicting
from actloc.prediction.outcomes import VideoState
from actloc.prediction.work import Engine, Predicted, predict_one
from actloc.settings.code_errors import blaming
from actloc.settings.code_files import Packed
from actloc.signals import StopFlag

_ID, _END = "video_id", "end"


def engine(load: Callable[[], Predicting], device: str) -> Engine:
    """The engine for a run, which `load` loads on each machine; raises UserError if Ray is not installed.

    GPUs of the cluster are used unless `device` is cpu.
    """
    ray_cluster.check_installed()

    def predict_all(predicting: Predicting, videos: Mapping[str, Path]) -> Iterator[Predicted]:
        sizes = {video_id: VideoState.of(path).bytes for video_id, path in videos.items()}
        seen: set[str] = set()
        with StopFlag() as stop, console.progress("predicting", max(sum(sizes.values()), 1), is_count=False) as bar:
            pace = PaceByBytes(bar, len(videos))
            for row in _rows(load, device, videos, stop.raise_if_set):
                video_id, end = str(row[_ID]), json.loads(row[_END])
                if video_id not in seen:
                    seen.add(video_id)
                    outcome = _outcome(end, predicting)
                    pace.over(float(getattr(outcome[1], "duration_s", None) or 0.0), sizes[video_id])
                    yield video_id, *outcome

    return predict_all


def _outcome(end: dict[str, Any], predicting: Predicting) -> tuple[VideoState, Any]:  # Any: JSON; a result or failure
    if "refusal" in end:
        kind = next(kind for kind in (EnvironmentProblem, UserError) if kind.status == end["status"])
        raise kind(*end["refusal"])
    found = VideoError(*end["failure"]) if "failure" in end else predicting.form.model_validate(end["result"])
    return VideoState(**end["state"]), found


def _rows(
    load: Callable[[], Predicting], device: str, videos: Mapping[str, Path], check_stop: Callable[[], None]
) -> Iterator[dict[str, Any]]:  # Any: columns of Ray Data
    """The outcomes of all videos, in any order."""
    with ray_cluster.cluster():
        import ray

        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        num_gpus = 0 if device == "cpu" else int(resources.get("GPU", 0))
        threads = torch.get_num_threads()
        most = num_gpus or max(1, int(resources["CPU"]) // threads)
        listed = [{_ID: video_id, "path": str(path.absolute())} for video_id, path in videos.items()]
        rows = ray.data.from_items(listed, override_num_blocks=len(listed)).map_batches(
            PredictingThere,
            fn_constructor_args=(Packed.of((load, threads, Path.cwd())),),
            batch_size=1,
            num_cpus=1,
            num_gpus=1 if num_gpus else None,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(most, len(listed))),
            batch_format="numpy",
        )
        yield from ray_cluster.polled(iter(rows.iter_rows()), check_stop)


class PredictingThere:
    """The actor that has a run's networks, with the user's own code in them, and predicts one video after another.

    Errors are returned as rows: Ray would only show where in Ray they were raised.
    """

    def __init__(self, packed: Packed) -> None:
        self._refusal = ""
        try:
            with blaming():
                load, threads, self._folder = packed.opened()
                torch.set_num_threads(threads)  # another number of threads may round differently
                with contextlib.chdir(self._folder):  # the settings' paths are relative to it
                    self._predicting: Predicting = load()
        except ActlocError as error:
            self._refusal = json.dumps(refusal(error))

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """The outcome of the video in `batch`, or why there can be none."""
        return {_ID: [str(batch[_ID][0])], _END: [self._refusal or self._outcome(Path(str(batch["path"][0])))]}

    def _outcome(self, video: Path) -> str:
        try:
            with blaming(), contextlib.chdir(self._folder):
                state, found = predict_one(self._predicting, video, VideoProgress())
        except ActlocError as error:
            return json.dumps(refusal(error))
        except OSError as error:
            return json.dumps(refusal(machine_problem(error)))
        if isinstance(found, VideoError):
            return json.dumps({"state": asdict(state), "failure": found.args})
        return json.dumps({"state": asdict(state), "result": found.model_dump(mode="json")})
