"""Predicts videos one by one, stores the outcome of each, and makes the summaries of all at the end."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from actloc import console, files
from actloc.annotations.model import AnnotatedVideo
from actloc.annotations.writing import WritableForm
from actloc.errors import EXIT_SOME_INPUTS_FAILED, VideoError
from actloc.evaluation.results import Record
from actloc.extraction.plan import Shard, shared_out
from actloc.extraction.video_progress import PaceByBytes, VideoOnBar, VideoProgress
from actloc.prediction import tool_files, video_files
from actloc.prediction.base import Predicting
from actloc.prediction.inputs import absolute, with_ids
from actloc.prediction.outcomes import Outcome, Outcomes, VideoState
from actloc.prediction.video_files import Found, VideoFiles
from actloc.prefetch import load_ahead
from actloc.reports import outputs
from actloc.reports.timelines import looks_of
from actloc.signals import stopping_at_once
from actloc.store.filling import FailureRow, failure, refuse_changed, state_of
from actloc.video.base import VideoFacts
from actloc.video.reader import probe

FAILED_NAME = "failed.jsonl"
Predicted = tuple[str, VideoState, Record | VideoError]
"""The id of a video, its state when it was read, and its result or why there is none."""
Engine = Callable[[Predicting, Mapping[str, Path]], Iterator[Predicted]]


@dataclass(frozen=True)
class Call:
    """What was asked for."""

    videos: Sequence[Path]
    output: Path
    summaries: Callable[[Sequence[str]], list[str]]
    """The names of the files that are made of the results of videos with these ids."""
    overwrite: bool = False
    shard: Shard | None = None
    forms: Sequence[WritableForm] = ()
    """The forms of annotation tools to write as well."""
    video_files: Sequence[VideoFiles] = ()
    """The kinds of video files that the folder may have; the wanted ones are made."""


def run(call: Call, predicting: Predicting, engine: Engine) -> int:
    """Predicts what has no result yet; returns the exit status, 3 if some videos failed.

    Results that were made with something else are refused, or replaced if the call says so. A shard makes the
    summaries if the other shards have left nothing to do.
    """
    outcomes = Outcomes(call.output, predicting.form)
    outcomes.check(predicting.made_with, overwrite=call.overwrite)  # before anything is made
    with ExitStack() as held, stopping_at_once():
        with files.taking_turns(call.output):  # shards that start together begin a folder once
            outcomes.check(predicting.made_with, overwrite=call.overwrite)
            if outcomes.differences(predicting.made_with):
                with files.locked(call.output):  # no shard is at work on the results that are replaced
                    outcomes.begin(predicting.made_with)
            held.enter_context(files.locked(call.output, str(call.shard or "")))
            outcomes.begin(predicting.made_with)
        videos = with_ids(call.videos, outcomes.recorded())
        share = videos if call.shard is None else _share(videos, call.shard)
        to_do = _to_do(outcomes, predicting, share)
        for video_id, state, found in engine(predicting, to_do) if to_do else ():
            _store(outcomes, predicting, video_id, to_do[video_id], state, found)
        with files.taking_turns(call.output):
            stored = {outcome.id: outcome for outcome in outcomes.all()}
            left = [key for key in videos if key not in share and not _is_settled(stored.get(key), videos[key])]
            if not left:
                ordered = [key for key in dict.fromkeys([*videos, *stored]) if key in stored]
                _summarise(call, outcomes, predicting, [stored[key] for key in ordered])
        own = [stored[key] for key in share if key in stored]
        unmade = video_files.make_all(call.video_files, _found(call, predicting, own))
        if unmade and not left:
            with files.taking_turns(call.output):
                failed = [one.failure for one in outcomes.all() if one.failure is not None]
                with outputs.recording([call.output / FAILED_NAME]):
                    files.write_json_lines(call.output / FAILED_NAME, [*failed, *unmade])
    if not left and len(stored) > len(videos):
        earlier = console.count(len(stored) - len(videos), "video")
        console.say(f"The summaries in {call.output} also have {earlier} of earlier calls")
    return _reported(call, predicting, own, len(left), unmade)


def _share(videos: Mapping[str, Path], shard: Shard) -> dict[str, Path]:
    """The videos of one shard.

    The size of a file stands for its length: reading the headers of thousands would keep every shard for minutes.
    """
    sizes = {key: AnnotatedVideo(key, "", duration_s=float(VideoState.of(path).bytes)) for key, path in videos.items()}
    own = shared_out(sizes, shard)
    return {key: path for key, path in videos.items() if key in own}


def _to_do(outcomes: Outcomes, predicting: Predicting, share: Mapping[str, Path]) -> dict[str, Path]:
    """The videos to predict: new ones, changed ones and those that failed. Results that there are count as found."""
    to_do, changed = {}, []
    for video_id, path in share.items():
        outcome = outcomes.find(video_id)
        if outcome is not None and outcome.is_of(path):
            console.emit("video_done", id=video_id, **predicting.event(outcome.result))
            continue
        to_do[video_id] = path
        if outcome is not None and outcome.failure is None:
            changed.append(video_id)
    if changed:
        videos = console.count(len(changed), "video")
        console.warn(f"Predicting {videos} again, whose files changed: {console.first_ten(changed)}", ids=changed)
    if len(to_do) < len(share):
        has = "has" if len(share) - len(to_do) == 1 else "have"
        total = console.count(len(share), "video")
        console.say(f"{len(share) - len(to_do)} of {total} {has} results already in {outcomes.output}")
    return to_do


def one_by_one(predicting: Predicting, videos: Mapping[str, Path]) -> Iterator[Predicted]:
    """The engine of this machine. Results depend on the video only, not on those beside it."""
    sizes = {video_id: VideoState.of(path).bytes for video_id, path in videos.items()}
    with console.progress("predicting", max(sum(sizes.values()), 1), is_count=False) as bar:
        pace = PaceByBytes(bar, len(videos))
        facts = load_ahead(_facts, videos.values(), 1)
        for (video_id, path), fact in zip(videos.items(), facts, strict=True):
            progress = VideoOnBar(pace, fact, sizes[video_id])
            state, found = predict_one(predicting, path, progress)
            progress.over()
            yield video_id, state, found


def _facts(path: Path) -> VideoFacts | None:
    """What a header says; None if it cannot be read, which is reported when the video is."""
    try:
        return probe(path, unlisted_folders=True)
    except VideoError:
        return None


def predict_one(predicting: Predicting, video: Path, progress: VideoProgress) -> tuple[VideoState, Record | VideoError]:
    """The state of a video before it is read, and what is found in it, unless it changes meanwhile."""
    state, files_before = VideoState.of(video), state_of([video])
    try:
        found = predicting.predict(video, progress)
        refuse_changed(video, files_before)
    except VideoError as error:
        return state, error
    return state, found


def _store(
    outcomes: Outcomes, predicting: Predicting, video_id: str, path: Path, state: VideoState, found: Record | VideoError
) -> None:
    if isinstance(found, VideoError):
        console.error(f"{path}: {found}")
        outcomes.write(video_id, path, state, None, failure(video_id, path, found))
        console.emit("video_failed", id=video_id, path=str(path), reason=found.reason, detail=found.detail)
    else:
        outcomes.write(video_id, path, state, found)
        console.emit("video_done", id=video_id, **predicting.event(found))


def _found(call: Call, predicting: Predicting, outcomes: Sequence[Outcome]) -> list[Found]:
    """The segments of videos of which video files can be made."""
    if not call.video_files:
        return []
    colours = looks_of(predicting.labels, {}).colours
    found = []
    for one in outcomes:
        if one.failure is None:
            path = Path(absolute(call.output / one.path))
            found.append(Found(path, one.state, predicting.annotated(one.id, path.name, one.result), colours))
    return found


def _reported(
    call: Call, predicting: Predicting, own: Sequence[Outcome], num_left: int, unmade: Sequence[FailureRow]
) -> int:
    """Prints the results of this call's share; returns the exit status."""
    results = {one.id: one.result for one in own if one.failure is None}
    predicting.show(results)
    if num_left:
        console.say(
            f"Other shards have {console.count(num_left, 'video')} left; the one that ends last writes the summaries, "
            "and so does the same command without --shard"
        )
    console.emit("done", path=str(call.output), videos=len(results))
    if unmade:
        videos = console.count(len({row["id"] for row in unmade}), "video")
        why = "" if num_left else f"; see {call.output}/{FAILED_NAME}"
        console.error(f"Some labelled copies or clips of {videos} could not be written{why}")
    failed = [one.failure for one in own if one.failure is not None]
    if not failed:
        return EXIT_SOME_INPUTS_FAILED if unmade else 0
    counts = sorted(Counter(row["reason"] for row in failed).items())
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts)
    why = reasons if num_left else f"see {call.output}/{FAILED_NAME}"
    console.error(f"{len(failed)} of {console.count(len(own), 'video')} failed, {len(results)} succeeded; {why}")
    console.say("The same command tries them again.")
    return EXIT_SOME_INPUTS_FAILED


def _is_settled(outcome: Outcome | None, path: Path) -> bool:
    return outcome is not None and (outcome.failure is not None or outcome.is_of(path))


def _summarise(call: Call, outcomes: Outcomes, predicting: Predicting, found: Sequence[Outcome]) -> None:
    """Writes what is made of all outcomes: those of the call in its order, then those of earlier calls."""
    results = {one.id: one.result for one in found if one.failure is None}
    names = call.summaries(list(results))
    everything = _found(call, predicting, found)
    for kind in call.video_files:
        kind.remove_stale(everything)
    with outputs.recording([call.output / name for name in names]):
        predicting.write(call.output, results)
        if call.forms:
            there = {one.id: call.output / one.path for one in found if one.failure is None}
            annotated = {path: predicting.annotated(key, path.name, results[key]) for key, path in there.items()}
            tool_files.write(call.forms, call.output, tool_files.with_rates(annotated))
        failed = [one.failure for one in found if one.failure is not None]
        files.write_json_lines(call.output / FAILED_NAME, failed)
    outcomes.remove_stale(names)
