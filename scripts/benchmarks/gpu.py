"""The tables of `scripts/bench gpu`: training steps, CUDA graphs, evaluation and extraction on one GPU.

Times are medians between CUDA events. Each part is measured by itself: one that fails prints its traceback, and the
next begins. Rates are compared with those of a plain matrix product in the same run.
"""

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.benchmarks.effort import FULL, TOY

if TYPE_CHECKING:
    import torch

    from scripts.benchmarks.gpu_steps import Row

PRODUCT_SIZE, TOY_PRODUCT_SIZE = 8192, 256
REPEATS = 20
PARTS = "steps", "waits", "evaluation", "graphs", "extraction", "videos"


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write; `arguments` are those of the command line if left out."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench gpu", description="Measure training steps, CUDA graphs, evaluation and extraction on a GPU."
    )
    parser.add_argument("--toy", action="store_true", help="measure toys: only to see that everything runs")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: times of the processor")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts to measure, of {', '.join(PARTS)}")
    parser.add_argument("--videos", type=Path, help="folder of the test videos, which are made there if missing")
    parser.add_argument("--output", type=Path, default=Path("ckpt/bench_gpu.json"), help="the JSON file to write")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",")
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        parser.error(f"--only: found {', '.join(unknown)}, expected some of {', '.join(PARTS)}")
    # as `actloc train` has it, before anything runs on the GPU
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU; expected one, or --device cpu, with --toy unless you have hours")
    with tempfile.TemporaryDirectory(prefix="actloc-bench-") as folder:
        videos = options.videos or Path(folder)
        failed = measure(torch.device(options.device), chosen, videos, options.output, toy=options.toy)
    if failed:
        sys.exit(f"scripts/bench gpu: {', '.join(failed)} failed, see above.")


def measure(device: "torch.device", chosen: list[str], videos: Path, output: Path, *, toy: bool) -> list[str]:
    """Prints every row as it is measured and writes all so far after each part; returns the parts that failed."""
    import torch

    from actloc import console, files, provenance
    from actloc.commands.training_run import be_repeatable
    from scripts.benchmarks import gpu_extraction, gpu_steps

    be_repeatable()  # as training is, which some operations of a GPU take longer for
    effort, repeats = (TOY, 1) if toy else (FULL, REPEATS)
    products = product_rates(device, TOY_PRODUCT_SIZE if toy else PRODUCT_SIZE, repeats)
    console.result(f"{provenance.machine()}, torch {torch.__version__}, commit {provenance.commit()}")
    console.result("plain product: " + ", ".join(f"{name} {rate:.3g} TFLOP/s" for name, rate in products.items()))
    record: dict[str, Any] = {  # Any: JSON values
        "version": 1,
        "machine": provenance.machine(),
        "torch": torch.__version__,
        "commit": provenance.commit(),
        "product_tflop_per_s": products,
        "rows": [],
        "waits": {},
    }
    parts: dict[str, Callable[[], Iterable[Row]]] = {
        "steps": partial(gpu_steps.whole_steps, effort, device, repeats),
        "evaluation": partial(gpu_steps.evaluations, effort, device, repeats),
        "graphs": partial(gpu_steps.graphs, effort, device, repeats),
        "extraction": partial(gpu_extraction.networks_alone, device, repeats, toy=toy),
        "videos": partial(gpu_extraction.whole_videos, device, videos, toy=toy),
    }
    failed = []
    for part in chosen:
        try:
            if part == "waits":
                record["waits"] = gpu_steps.waits(effort, device)
                _show_waits(record["waits"])
            for row in parts[part]() if part in parts else ():
                record["rows"].append({"part": part, **asdict(row), **derived(row, products)})
                console.result(line(row, products))
        except Exception:  # one part must not cost the others
            failed.append(part)
            console.result(traceback.format_exc())
        files.write_json(output, {**record, "failed": failed})
    console.result(f"Wrote {output}")
    return failed


def product_rates(device: "torch.device", size: int, repeats: int) -> dict[str, float]:
    """TFLOP per second of a product of `size` cubed in each precision, from random numbers."""
    import torch

    from scripts.benchmarks.device_time import measured
    from scripts.benchmarks.gpu_steps import PRECISIONS, rounding

    rates = {}
    for precision in PRECISIONS:
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        left, right = torch.randn(2, size, size, device=device).to(dtype)
        with rounding(precision):
            costs = measured(lambda: left @ right, device, repeats)  # noqa: B023 - called here
        rates[precision] = 2 * size**3 / costs.ms / 1e9
    return rates


def derived(row: "Row", products: dict[str, float]) -> dict[str, float | None]:
    """What follows from a row: rates, and shares of the product's rate and of the time."""
    rate = None if row.gflop is None else row.gflop / row.costs.ms
    kind = row.precision.partition(",")[0]  # "float32, torch's defaults", "bfloat16, channels last"
    return {
        "tflop_per_s": rate,
        "of_product": None if rate is None else rate / products[kind],
        "busy": row.costs.busy,
        "per_s": None if row.items is None else 1000 * row.items / row.costs.ms,
    }


def line(row: "Row", products: dict[str, float]) -> str:
    """A row as text."""
    costs, more = row.costs, derived(row, products)
    cells = [f"{row.name} | {row.precision} | {costs.ms:.3g} ms"]
    if more["per_s"] is not None:
        cells.append(f"{more['per_s']:.4g} clips/s")
    if costs.work is not None:
        cells.append(f"{costs.work.kernels:,.0f} kernels, {costs.work.copies:,.0f} copies")
        cells.append(f"busy {100 * costs.work.busy_ms / costs.ms:.0f} %")
    if more["tflop_per_s"] is not None:
        cells.append(f"{more['tflop_per_s']:.3g} TFLOP/s, {100 * (more['of_product'] or 0):.0f} % of a product")
    if costs.peak_mb is not None:
        cells.append(f"peak {costs.peak_mb:,.0f} MB")
    return " | ".join(cells)


def _show_waits(found: dict[str, dict[str, int]]) -> None:
    from actloc import console

    for name, places in found.items():
        console.result(f"{name}: {sum(places.values())} waits for the GPU in a step")
        for place, number in places.items():
            console.result(f"  {number} x {place}")


if __name__ == "__main__":
    main()
