"""The trainer's `Learner` for a recogniser."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from actloc.layers.precision import computing_in
from actloc.recognition.clips import TrainingClips
from actloc.recognition.recognizer import Groups, Recognizer
from actloc.recognition.token_labels import Annotator, TokenHead, student_scores, token_label_losses
from actloc.structures import Batch, Sample, Visit
from actloc.training import modules
from actloc.training.distributed import ALONE, Processes
from actloc.training.modules import Modules

TOKEN_HEAD = "token_head"


class RecognitionLearner:
    """Clips, class scores and losses; with an annotator, also those of each token."""

    score_name = "top_1"

    def __init__(
        self,
        recognizer: Recognizer,
        clips: TrainingClips,
        classes: Sequence[str],
        validate: Callable[[Recognizer], dict[str, float]],
        *,
        groups: Groups,
        precision: str,
        annotator: Annotator | None = None,
        processes: Processes = ALONE,
    ) -> None:
        """Raises UserError if the encoder has no published groups, and `groups` asks for them."""
        self.recognizer = recognizer
        self.clips = clips
        self.classes = tuple(classes)
        self.processes = processes
        self.num_samples = len(clips.clips)
        self._validate = validate
        self._precision = precision
        self._device = next(recognizer.parameters()).device
        self.annotator = annotator
        self.token_head: TokenHead | None = None
        trained = dict(recognizer.trained_modules(groups))
        if annotator is not None:
            self.token_head = TokenHead(recognizer.encoder.channels, len(classes)).to(self._device)
            trained[TOKEN_HEAD] = self.token_head.trained(groups)
        self.modules: Modules = trained
        self._num_in_step = 1.0

    def load_sample(self, index: int, visit: Visit) -> Sample:
        """Clip `index` of an epoch."""
        return self.clips.sample(index, visit)

    def start_step(self, batches: Sequence[Batch]) -> None:
        """Counts the clips of the whole step, over which the loss is averaged."""
        for trained in self.modules.values():
            trained.network.train()
        self.recognizer.train()
        # batch norms learn from their own process's clips, as published; all go on with the first one's statistics
        self.processes.copy_from_first(list(self.recognizer.buffers()))
        self._num_in_step = self.processes.total(sum(len(batch.samples) for batch in batches))

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The clips (B, F, H, W, c), and which share of each class (B, K) is true of them."""
        clips = torch.stack([sample.features for sample in batch.samples]).permute(0, 2, 3, 4, 1)
        shares = torch.zeros(len(batch.samples), len(self.classes))
        for row, sample in zip(shares, batch.samples, strict=True):
            row[sample.targets.labels] = 1 / len(sample.targets.labels)
        return clips.to(self._device), shares.to(self._device)

    def losses(self, features: Tensor, mask: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The cross-entropy of clips (B, F, H, W, c) with the shares of their classes (B, K), here called `mask`.

        Each is this batch's part of the mean over the step.
        """
        clips, shares = features, mask
        part = len(clips) / self._num_in_step
        with computing_in(self._precision, self._device):
            if self.annotator is None or self.token_head is None:
                return {"classification": part * F.cross_entropy(self.recognizer(clips), shares)}
            clip_scores, token_scores = student_scores(self.recognizer, self.token_head, clips)
            labels = self.annotator.labels(clips, token_scores.shape[1:4])
        weight = self.annotator.settings.weight
        losses = token_label_losses(clip_scores, shares, token_scores, labels, weight)
        return {name: part * loss for name, loss in losses.items()}

    def backward(self, loss: Tensor) -> None:
        """The gradients of all networks."""
        loss.backward()  # type: ignore[no-untyped-call]

    def commit(self, step: int, steps_per_epoch: int) -> dict[str, float]:
        """Nothing is kept from a step."""
        return {}

    def validate(self, averaged: dict[str, Tensor]) -> dict[str, float]:
        """Top-1 and top-5 accuracy of the averaged weights on the validation subset."""
        trained = {name: tensor.clone() for name, tensor in modules.learning(self.modules).items()}
        modules.load(self.modules, averaged)
        self.processes.copy_from_first(list(self.recognizer.buffers()))
        accuracies = self._validate(self.recognizer)
        modules.load(self.modules, trained)
        return accuracies

    def about(self) -> dict[str, Any]:  # Any: JSON values
        """What a checkpoint stores in addition to settings: the classes in their order, and where weights came from."""
        return {
            "classes": list(self.classes),
            "encoder_weights_sha256": self.recognizer.encoder.weights_sha256,
            "annotator_weights_sha256": None if self.annotator is None else self.annotator.weights_sha256,
        }

    def begin(self) -> None:
        """Nothing has to be there before the first step."""

    def training_state(self, step: int) -> tuple[dict[str, Any], dict[str, Tensor]]:  # Any: JSON values
        """Later steps depend on the weights alone."""
        return {}, {}

    def load_training_state(self, state: dict[str, Any], tensors: dict[str, Tensor]) -> None:  # Any: JSON values
        """There is nothing to restore."""

    def saved(self, step: int) -> None:
        """There are no files but the checkpoint's."""

    def keep(self, states: Sequence[dict[str, Any]]) -> None:  # Any: JSON values
        """There are no files to delete."""
