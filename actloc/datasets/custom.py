"""Your own videos: a folder of videos, and their actions in a table or as an annotation tool wrote them."""

import functools
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import model_validator

from actloc import console
from actloc.annotations import annotated_time, left_out, model, own_actions, own_files, subsets
from actloc.annotations.beyond_end import other_unit
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.annotations.reading import Reading, ReadingSettings
from actloc.annotations.video_names import VideoNames
from actloc.datasets.base import DatasetConfig
from actloc.errors import Problem
from actloc.settings.sections import InputFileOrFolder, InputPath, ShippedPath
from actloc.video.folder import videos_by_id, with_all_facts
from actloc.video.known_facts import KnownFacts


class Config(ReadingSettings, DatasetConfig):
    """Where the videos are, and the files that list their actions."""

    has_own_labels: ClassVar[bool] = True

    videos: Annotated[ShippedPath | None, InputPath("folder")] = None
    """The folder of videos, in folders or not; the id of a video is its file name without extension. null: there are
    only features."""
    annotations: InputFileOrFolder
    """A table `video,start,end,label[,subset]` (seconds or H:MM:SS), or a file of an annotation tool: see `actloc ls
    annotation_forms`. A folder of such files is read as one, all of one form; videos in it are passed over."""

    unannotated: Literal["background", "unlabelled"] = "background"
    """What videos without an action, annotated time or subset are. background: nothing happens in them. unlabelled:
    nobody has looked at them; they are neither trained on nor scored, `suggest` chooses from them, and once something
    in them is annotated they are training videos."""

    @model_validator(mode="after")
    def _reads_what_it_does_not_write(self) -> Self:
        if self.annotations.absolute() == self.folder.absolute():
            raise ValueError(f"annotations: {self.annotations} is dataset.folder, where `prepare` writes; use another")
        return self

    def sources(self) -> list[Path]:
        """The annotations, and the subsets that are kept."""
        kept = subsets.file_in(self.folder)
        listed = own_files.files_in(self.annotations, self._others) if self.annotations.exists() else []
        optional = [file for file in (kept, self.annotated) if file is not None and file.is_file()]
        return [*listed, *optional]

    @property
    def _others(self) -> tuple[Path, ...]:
        """What may be in the folder of annotations and is none of them."""
        return (self.folder, *([self.annotated] if self.annotated else []))

    @property
    def has_videos(self) -> bool:
        """Whether the folder of videos is named."""
        return self.videos is not None

    def collect(self) -> Annotations:
        """Annotations of every video that is in the folder; without a folder, of every video in the file."""
        ours = (*own_files.files_in(self.annotations, self._others), *self._others)
        found = videos_by_id(self.videos, skip=ours) if self.videos else {}
        allowed = [self.training_subset, self.evaluation_subset, self.validation_subset]
        allowed += [subsets.UNLABELLED] if self.unannotated == "unlabelled" else []
        names = VideoNames(found.keys() if self.videos else None)

        @functools.cache
        def at_hand() -> dict[str, AnnotatedVideo]:
            videos = {video_id: AnnotatedVideo(video_id, "", file=file) for video_id, file in found.items()}
            return with_all_facts(videos, known=KnownFacts(self.folder))

        # headers are read before the annotations only if these need rates or lengths
        reading = Reading(self, facts=lambda name: at_hand().get(names.find(name) or ""))
        absent = f"{self.videos} has no video"
        listed = own_actions.read(self.annotations, allowed, names, absent, reading, self._others)
        videos = {}
        for video_id in sorted({*at_hand(), *listed.videos}):
            facts, video = at_hand().get(video_id), listed.videos.get(video_id)
            if facts and video:
                video = replace(video, file=facts.file)
            if facts and video and facts.duration_s is not None:
                video = replace(video, duration_s=facts.duration_s, fps=facts.fps)
            videos[video_id] = video or facts or AnnotatedVideo(video_id, "")
        videos = {video_id: self._open_if_unannotated(video) for video_id, video in videos.items()}
        if not self.videos:
            videos = with_all_facts(videos, known=KnownFacts(self.folder))  # of the files that the annotations name
        classes = sorted({action.label for video in videos.values() for action in video.actions})
        problems = listed.problems + model.check(Annotations(tuple(classes), videos), listed.places)
        for video in videos.values():
            problems += annotated_time.problems_of(video, str(self.annotated or self.annotations))
        unit = other_unit(videos.values())
        if problems and unit:
            problems.append(Problem(str(self.annotations), unit))
        if not problems and not classes:
            problems.append(Problem(str(self.annotations), "it lists no action"))
        # without the rows that are wrong, a subset may seem empty
        if not problems:
            videos = self._with_subsets(videos)
            members = ((video.subset, bool(video.actions)) for video in videos.values())
            where = f"a column `subset` or in {subsets.file_in(self.folder)}"
            is_stated = any(video.subset == self.evaluation_subset for video in listed.videos.values())
            problems = subsets.problems_of_subsets(
                self.annotations, members, allowed, where, may_be_unlabelled=is_stated
            )
        if problems and listed.wrong:
            problems += listed.wrong
        else:
            left_out.report(listed, self.folder)
        model.raise_problems(self.annotations, problems, self.folder)
        _report_background(videos.values())
        return annotated_time.settled(model.clip_past_end(Annotations(tuple(classes), videos)))

    def sides(self, annotations: Annotations) -> dict[str, str]:
        """The subset of every video by its path in the folder."""
        return {subsets.name_of(one.file, self.videos, one.id): one.subset for one in annotations.videos.values()}

    @classmethod
    def small(cls, folder: Path) -> "Config":
        """A folder that the contract test fills."""
        return cls(folder=folder / "prepared", videos=folder / "videos", annotations=folder / "labels.csv")

    def _with_subsets(self, videos: dict[str, AnnotatedVideo]) -> dict[str, AnnotatedVideo]:
        """Assigns the videos without a subset."""
        names = {video.id: subsets.name_of(video.file, self.videos, video.id) for video in videos.values()}
        members = (
            subsets.Member(names[video.id], video.id, {action.label for action in video.actions}, video.subset)
            for video in videos.values()
        )
        chosen = subsets.with_subsets(members, self.folder, self.training_subset, self.evaluation_subset)
        return {video_id: replace(video, subset=chosen[names[video_id]]) for video_id, video in videos.items()}

    def _open_if_unannotated(self, video: AnnotatedVideo) -> AnnotatedVideo:
        is_known = self.unannotated == "background" or video.actions or video.annotated or video.subset
        return video if is_known else replace(video, subset=subsets.UNLABELLED)


def _report_background(videos: Collection[AnnotatedVideo]) -> None:
    """Lists the videos without actions, of which all or the annotated time is background."""
    background = [video for video in videos if not (video.actions or video.subset == subsets.UNLABELLED)]
    whole = [video.id for video in background if not video.annotated]
    partly = [video.id for video in background if video.annotated]
    total = console.count(len(videos), "video")
    if whole:
        verb = "has no annotations and is" if len(whole) == 1 else "have no annotations and are"
        console.say(f"{len(whole)} of {total} {verb} used as background: {console.first_ten(whole)}")
    if partly:
        verb = "has no action in its" if len(partly) == 1 else "have no action in their"
        names = console.first_ten(partly)
        console.say(f"{len(partly)} of {total} {verb} annotated time, which is used as background: {names}")
