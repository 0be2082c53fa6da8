"""`actloc suggest RUN [VIDEOS] --minutes 10`: what to annotate next, with pre-annotations for annotation tools."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from actloc import console, files
from actloc.annotations.annotated_time import Span, merged
from actloc.annotations.model import AnnotatedVideo, Annotations
from actloc.annotations.rows import Segment, WrittenVideo
from actloc.datasets.base import read_prepared
from actloc.errors import EXIT_SOME_INPUTS_FAILED, UserError
from actloc.experiment import Experiment
from actloc.prediction import tool_files
from actloc.prediction.inputs import absolute, named_videos, with_ids
from actloc.prediction.made_files import without_made
from actloc.reports import outputs
from actloc.reports.text import csv_cell
from actloc.runs import chosen_checkpoint
from actloc.settings.yaml_text import COMMAND_LINE  # noqa: F401
from actloc.signals import stopping_at_once
from actloc.tasks.base import task_of

if TYPE_CHECKING:
    from actloc.localization.suggesting.footage import Footage
    from actloc.localization.suggesting.looking import Looked
    from actloc.localization.suggesting.suggestion import Suggestion

TABLE_NAME, INTERVALS_NAME, FAILED_NAME = "suggested.csv", "annotated.csv", "failed.jsonl"
