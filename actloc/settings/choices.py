"""Names that settings and the code share: each list of choices is written once, here.

Nothing is imported, so processes that only decode video can use it too.
"""

from typing import Literal

Align = Literal["valid", "backpad", "centred", "padded"]
"""Where the clips of a video are; `video/windows.py` says what each means."""
Dtype = Literal["float32", "float16"]
"""How features are stored."""
ReaderName = Literal["pyav", "ffmpeg", "decord"]
"""What decodes videos: a file of `video/readers`."""
ClipChoice = Literal["random", "uniform", "uniform_jitter", "stratified", "oldest"]
"""Which clips an encoder learns from; `end_to_end/choosing.py` says what each means."""
Route = Literal["direct", "replay"]
"""How the gradient reaches an encoder; `end_to_end/live_encoder.py` says what each means."""
Outside = Literal["repeat", "repeat_window", "zero", "black"]
"""What frames outside the video are: its first or last frame again, zero after the encoder's scaling, or black.
repeat_window repeats the last one of the window, also where the video goes on."""
ProtocolName = Literal[
    "actionformer", "actionformer_collisions", "activitynet", "qvhighlights", "thumos", "thumos_without_ambiguous"
]
"""Whose rules of evaluation count; `evaluation/protocols.py` says what each means."""
ErrorBins = Literal["thumos14", "activitynet", "quintiles"]
"""Ranges of true actions in the error analysis; `evaluation/error_analysis/bins.py` has their edges."""
ScoreForm = Literal["cuhk", "untrimmednet", "tcanet", "tcanet_once", "plain"]
"""Files of class scores that `evaluation/class_scores.py` reads."""
FusionRule = Literal["product", "sqrt", "none"]
"""How a detection's score and a class score become one; `evaluation/fusion.py`."""
FusionUnit = Literal["video", "segment"]
"""What has class scores of its own; `evaluation/fusion.py`."""
FusionLabels = Literal["replace", "keep"]
"""Whether detections get new classes or keep theirs; `evaluation/fusion.py`."""
TableForm = Literal["latex", "markdown", "csv"]
"""What `report --format` prints."""
