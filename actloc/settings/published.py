"""The block `published:` of a settings file: what others report of these settings. It chooses nothing."""

from typing import ClassVar

from pydantic import NonNegativeFloat, model_validator

from actloc.settings.sections import Section


class PublishedFigures(Section):
    """Results that others published for these settings; they were not measured here, and reports show them beside."""

    shapes = "nothing"
    chooses: ClassVar[bool] = False

    source: str = ""
    """Who published them, and where."""
    subset: str = ""
    """The subset that they were measured on."""
    variant: str = ""
    """The variant of the dataset, such as test set 212; empty if there is only one."""
    note: str = ""
    """What must be known to compare them."""

    def other_data(self, subset: str, variant: str) -> str:
        """What differs where results were measured on other data; empty if nothing does."""
        differing = [("subset", self.subset, subset), ("variant", self.variant, variant)]
        return "; ".join(
            f"{what} {theirs or 'not stated'}, here {ours or 'not stated'}"
            for what, theirs, ours in differing
            if theirs != ours
        )


class PublishedMap(PublishedFigures):
    """Published mAP of these settings, in percent; it was not measured here, and reports show it beside."""

    protocol: str = ""
    """The protocol of these settings."""
    tious: tuple[float, ...] = ()
    """The temporal IoUs that `average` is the mean over."""
    map: tuple[NonNegativeFloat | None, ...] = ()
    """mAP at each of them, in percent; null where none was published."""
    average: NonNegativeFloat | None = None
    """The published average mAP, in percent."""
    recall_at_1: tuple[NonNegativeFloat | None, ...] = ()
    """Recall@1x at each of them, in percent; empty where none was published."""
    average_recall_at_1: NonNegativeFloat | None = None
    """The published average of Recall@1x, in percent."""

    @model_validator(mode="after")
    def _lists_belong_together(self) -> "PublishedMap":
        for name in ("map", "recall_at_1"):
            if len(getattr(self, name)) not in (0, len(self.tious)):
                raise ValueError(
                    f"{name}: found {len(getattr(self, name))} values, expected {len(self.tious)}, as tious has"
                )
        return self


class PublishedAccuracy(PublishedFigures):
    """Published accuracy of these settings, in percent; it was not measured here, and reports show it beside."""

    views: str = ""
    """The views of a clip that were averaged, such as `4 clips x 3 crops`."""
    top_1: NonNegativeFloat | None = None
    """Top-1 accuracy, in percent."""
    top_5: NonNegativeFloat | None = None
    """Top-5 accuracy, in percent; null where none was published."""
