"""Token labelling: a trained recogniser labels every token of a clip, and the student learns these labels too.

(Jiang et al. 2021, "All Tokens Matter", arXiv 2104.10858; as in DualFormer's code, where the student's own augmented
clip is labelled in every step.)
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actloc.encoders.base import EncoderConfig
from actloc.encoders.base_network import ClipEncoder, built, ready
from actloc.errors import UserError
from actloc.layers.precision import at_least_float32
from actloc.recognition.recognizer import Groups, Recognizer, published_classifier
from actloc.recognition.setting_names import encoder_called
from actloc.recognition.settings import TokenLabelSettings
from actloc.structures import Factors
from actloc.training.modules import TrainedModule

_HEAD_DROPOUT = 0.5


class TokenHead(nn.Module):
    """The student's own classifier of tokens, which only training uses."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels, 2 * channels),
            nn.Dropout(_HEAD_DROPOUT),
            nn.ReLU(),
            nn.Linear(2 * channels, 4 * channels),
            nn.Dropout(_HEAD_DROPOUT),
            nn.ReLU(),
            nn.Linear(4 * channels, num_classes),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Scores (S, t, h, w, K) of the tokens of maps (S, C, t, h, w)."""
        return at_least_float32(self.layers(maps.permute(0, 2, 3, 4, 1)))

    def trained(self, groups: Groups) -> TrainedModule:
        """How it trains: at the full rate; as published, all of it decays."""
        names = [name for name, _ in self.named_parameters()]
        return TrainedModule(self, factors=None if groups == "usual" else dict.fromkeys(names, Factors(1.0, 1.0)))


def student_scores(student: Recognizer, head: TokenHead, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (S, K) of clips (S, F, H, W, 3), and (S, t, h, w, K) of their tokens; raises UserError without tokens."""
    maps = student.encoder.feature_map(clips)
    return student.classify(student.encoder.pooled(maps, clips.shape[1])), head(maps)


def require_tokens(encoder: ClipEncoder) -> None:
    """Raises UserError for an encoder whose features are not those of tokens."""
    if type(encoder).feature_map is ClipEncoder.feature_map:
        raise UserError(
            f"features.encoder is {encoder.config.name}, which has no map of tokens.",
            "Expected for token labels two encoders that make one, such as dualformer, tanet or video_swin.",
            "Choose such an encoder; or set token_labels.annotator=null",
        )


class Annotator:
    """Labels the tokens of clips. It is no module: no checkpoint has it, and no student's mode changes its own."""

    def __init__(self, settings: TokenLabelSettings, num_classes: int, device: torch.device) -> None:
        """Raises UserError if it has no map of tokens, or its weights no classifier of so many classes."""
        assert isinstance(settings.annotator, EncoderConfig), "it is asked for where there is one"
        with encoder_called("token_labels.annotator"):
            encoder = ready(built(settings.annotator), device)
            require_tokens(encoder)
            recognizer = Recognizer(encoder, published_classifier(encoder, num_classes)).to(device)
        self.recognizer = recognizer.train(settings.annotator_in_training_mode).requires_grad_(False)
        self.settings = settings
        self.weights_sha256 = encoder.weights_sha256

    @torch.no_grad()
    def labels(self, clips: Tensor, grid: torch.Size) -> Tensor:
        """Soft labels (S, t, h, w, K) of clips (S, F, H, W, 3) for the student's `grid` (t, h, w) of tokens.

        Raises UserError if the annotator's own grid does not fit it.
        """
        maps = self.recognizer.encoder.feature_map(clips)
        tokens = self.recognizer.dropout(maps.permute(0, 2, 3, 4, 1))
        scores = averaged_frames(at_least_float32(self.recognizer.classifier(tokens)), grid, self.settings)
        return soft_labels(scores, self.settings.top_k)


def averaged_frames(scores: Tensor, grid: torch.Size, settings: TokenLabelSettings) -> Tensor:
    """Scores (S, t', h, w, K) of the annotator's tokens as those (S, t, h, w, K) of the student's `grid` (t, h, w)."""
    ratio, rest = divmod(scores.shape[1], grid[0])
    if rest or not ratio or scores.shape[2:4] != grid[1:]:
        found, expected = (" x ".join(map(str, shape)) for shape in (scores.shape[1:4], grid))
        raise UserError(
            f"The annotator makes {found} tokens of a clip; the encoder makes {expected}.",
            "Expected as many along height and width, and a multiple along time.",
            "Choose token_labels.annotator of the encoder's kind, such as the same network in a larger size.",
        )
    if settings.average_frames == "neighbours":
        return scores.reshape(len(scores), grid[0], ratio, *scores.shape[2:]).mean(2)
    return scores.reshape(len(scores), ratio, grid[0], *scores.shape[2:]).mean(1)


def soft_labels(scores: Tensor, top_k: int) -> Tensor:
    """Labels (..., K) that add up to 1: softmax of the `top_k` highest scores and what ties with them; others are 0.

    0 and not minus infinity, so that the other classes keep a share.
    """
    lowest = scores.topk(min(top_k, scores.shape[-1]), dim=-1).values[..., -1:]
    return torch.where(scores >= lowest, scores, 0.0).softmax(-1)


def token_label_losses(
    clip_scores: Tensor, classes: Tensor, token_scores: Tensor, labels: Tensor, weight: float
) -> dict[str, Tensor]:
    """The losses of clips, scores (S, K) and classes (S,) or shares of classes (S, K), and of their tokens (..., K)."""
    return {
        "classification": (1 - weight) * F.cross_entropy(clip_scores, classes),
        "token_labels": weight * F.cross_entropy(token_scores.flatten(0, -2), labels.flatten(0, -2)),
    }
