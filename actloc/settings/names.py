"""The names of all settings, and which of them a wrong name means: a typing mistake or another tool's word."""

import difflib
import re
from collections.abc import Iterable, Mapping

from pydantic import BaseModel

_MOST_OFFERED = 3

_SYNONYMS = {
    "optimizer.learning_rate": "lr, rate, base_lr, step_size, alpha",
    "optimizer.weight_decay": "wd, decay, l2",
    "optimizer.clip_norm": "clip, grad_clip, gradient_clip, max_grad_norm, clip_grad_norm, gradient_clip_val",
    "optimizer.name": "optim, opt, optimizer_type, type",
    "schedule.epochs": "epoch, num_epochs, n_epochs, max_epochs, max_epoch",
    "schedule.warmup_epochs": "warmup, warm_up, warmup_epoch, num_warmup_epochs",
    "schedule.stop_after_epochs": "early_stop, early_stop_epochs, max_steps, max_iters",
    "training.batch_size": "bs, batch, batchsize, batch_per_gpu, train_batch_size, num_videos",
    "training.accumulate": "grad_accum, accumulate_grad_batches, gradient_accumulation_steps, accumulation_steps",
    "training.precision": "amp, fp16, bf16, half, dtype, mixed_precision",
    "training.validation_subset": "val, val_split, validation_split, val_subset",
    "training.validate_every_epochs": "eval_every, val_interval, validate_every, check_val_every_n_epoch",
    "training.checkpoint_every_epochs": "save_every, save_interval, save_freq, ckpt_freq, checkpoint_every",
    "average.decay": "ema, ema_decay",
    "machine.device": "gpu, gpus, cuda, cpu, accelerator, devices, gpu_id",
    "machine.num_workers": "workers, nworkers, num_threads, threads, n_workers, jobs",
    "machine.decode_timeout_s": "timeout",
    "machine.clip_batch": "clip_batch_size, extract_batch_size",
    "run.seed": "random_seed, rng, manual_seed, init_rand_seed",
    "run.name": "exp, exp_name, experiment, experiment_name, run_name, project",
    "run.folder": "ckpt, ckpt_folder, ckpt_dir, output, output_dir, output_folder, out, out_dir, save_dir, work_dir,"
    " log_dir, logdir, results_dir",
    "dataset.folder": "data, data_dir, data_folder, data_root, root, dataset.path, dataset.root, dataset.dir",
    "dataset.videos": "video, video_dir, video_folder, videos_dir, input, source",
    "dataset.annotations": "annotation, labels, label_file, csv, ann, ann_file, anno_file, annotation_file, json_file",
    "dataset.training_subset": "train_split, train_subset, train_set",
    "dataset.evaluation_subset": "test_split, test_subset, eval_split, split, subset",
    "features.path": "feature_path, feat_folder, feature_folder, features_dir, feature_dir, store",
    "features.stride_frames": "feat_stride, stride, feature_stride",
    "features.clip_frames": "num_frames, clip_len, clip_length, window",
    "features.max_steps": "max_seq_len, max_len, max_length",
    "detector.name": "model, arch, architecture, model.name",
    "features.encoder.name": "extractor, feature_extractor",
    "evaluation.tious": "iou, ious, tiou_thresholds, iou_thresholds",
    "evaluation.weights_file": "checkpoint_file, resume_from, load_from, pretrained, weights_path",
    "prediction.threshold": "score_threshold, score_thresh, conf, confidence, thresh, conf_threshold",
    "suppression.method": "nms, nms_method, soft_nms",
    "suppression.sigma": "nms_sigma",
    "suppression.tiou": "nms_threshold, iou_threshold, nms_thresh",
    "fusion.scores": "fusion.file, external_score, ext_score_file, score_file, class_scores",
    "suppression.max_kept": "max_seg_num, max_detections, top_k, topk, max_det",
}
"""Words of other tools for our settings; a word with a dot is meant only where it is typed so."""

_MEANT = {word: name for name, words in _SYNONYMS.items() for word in re.split(r",\s*", words)}


def names_of(sections: Mapping[str, type[BaseModel]]) -> list[str]:
    """`optimizer.learning_rate` and all others of the sections, also of blocks inside blocks."""
    names = []
    for section, form in sections.items():
        if not getattr(form, "chooses", True):
            continue
        for key, field in form.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                names += names_of({f"{section}.{key}": inner})
            else:
                names.append(f"{section}.{key}")
    return names


def meant(typed: str, names: Iterable[str]) -> list[str]:
    """The settings among `names` that `typed`, which is not one of them, may mean; the likeliest first, at most three.

    The order is: a nearly equal name in the section named, the same last word in another section, a synonym, a similar
    name in the section named, a similar name anywhere.
    """
    known = list(names)
    typed = typed.lower().replace("-", "_")
    section, _, word = typed.rpartition(".")
    same_word = [name for name in known if _last(name) == word]
    synonym = _MEANT.get(typed) or _MEANT.get(word)
    inside = [name for name in known if name.rpartition(".")[0] == section]
    nearly = difflib.get_close_matches(word, [_last(name) for name in inside], n=1, cutoff=0.85)
    if nearly and typed not in _MEANT:
        return [f"{section}.{nearly[0]}"]
    if same_word and len(same_word) <= _MOST_OFFERED and typed not in _MEANT:
        return same_word
    if synonym in known:
        return [synonym]
    similar = difflib.get_close_matches(word, [_last(name) for name in inside], n=1, cutoff=0.6)
    if similar:
        return [f"{section}.{similar[0]}"]
    close = difflib.get_close_matches(typed, known, n=1, cutoff=0.8)
    words = difflib.get_close_matches(word, [_last(name) for name in known], n=1, cutoff=0.75)
    return close or [name for name in known if words and _last(name) == words[0]][:_MOST_OFFERED]


def _last(name: str) -> str:
    return name.rpartition(".")[2]
