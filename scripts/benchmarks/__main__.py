"""Prints the table of `scripts/bench` and writes it as JSON."""

import argparse
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.benchmarks.effort import FULL, QUICK, TOY, Effort

if TYPE_CHECKING:
    from rich.table import Table

    from scripts.benchmarks.results import Result

WIDTH = 110  # wide enough that no name wraps
TITLES = {
    "localization": "actloc and recorded numbers of official ActionFormer",
    "recognition": "actloc and recorded numbers of the same networks",
}
"""By the task that is measured."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure speed, memory and operation counts, and print them next to recorded ones.",
    )
    parser.add_argument(
        "task", nargs="?", choices=TITLES, default="localization", help="what is measured; localization if left out"
    )
    parser.add_argument("--quick", action="store_true", help="measure few lengths with few repetitions: about a minute")
    parser.add_argument("--toy", action="store_true", help="measure toys: only to see that everything runs")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and numpy; the official times used 1")
    parser.add_argument("--output", type=Path, help="the JSON file to write; ckpt/bench.json or bench_recognition.json")
    options = parser.parse_args()
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(options.threads)  # read when numpy and torch are imported
    output = options.output or Path(
        "ckpt/bench.json" if options.task == "localization" else "ckpt/bench_recognition.json"
    )
    measure(options.task, TOY if options.toy else QUICK if options.quick else FULL, options.threads, output)


def measure(task: str, effort: Effort, threads: int, output: Path) -> None:
    """Run every benchmark of a task; print the table and write all numbers to `output`."""
    import torch
    from rich.console import Console

    from actloc import files
    from scripts.benchmarks import array_results, network_results, recognition
    from scripts.benchmarks.results import devices, processor, product_rate

    parts = {
        "localization": {
            "counts": network_results.count_results,
            "networks": network_results.time_results,
            "arrays": array_results.results,
        },
        "recognition": {"networks": recognition.results},
    }
    torch.set_num_threads(threads)
    console = Console(stderr=True)
    products = 1 if effort is TOY else 5
    rates = {device.type: product_rate(products, device) for device in devices()}
    results = []
    for name, part in parts[task].items():
        with console.status(f"measuring {name}"):
            results += part(effort)
        rates = {device.type: max(rates[device.type], product_rate(products, device)) for device in devices()}
    if effort is TOY:
        results = [replace(result, official=None) for result in results]  # which were measured on whole videos
    Console(width=max(Console().width, WIDTH)).print(_table(TITLES[task], results, rates))
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "threads": threads,
    }
    files.write_json(
        output,
        {
            "version": 1,
            "machine": machine,
            "quick": effort is not FULL,
            "gflop_per_s": rates["cpu"],
            "gpu_gflop_per_s": rates.get("cuda"),
            "results": [_record(result, rates[result.device]) for result in results],
        },
    )
    console.print(f"Wrote {output}")


def _record(result: "Result", rate: float) -> dict[str, Any]:  # Any: JSON values
    return {**asdict(result), "products": result.products(rate), "ratio": result.ratio(rate)}


def _table(title: str, results: "list[Result]", rates: dict[str, float]) -> "Table":
    from rich.table import Table

    from scripts.benchmarks.results import OFFICIAL_GFLOP_PER_S, processor

    table = Table(
        title=title,
        caption=f"CPU time on {processor()}. The ratio of times is taken in 2048-cubed float32 products: "
        f"{rates['cpu']:.0f} GFLOP/s in this run, {OFFICIAL_GFLOP_PER_S:.0f} GFLOP/s for the recorded times.",
    )
    table.add_column("quantity")
    for name in ("actloc", "recorded", "actloc / recorded"):
        table.add_column(name, justify="right")
    for result in results:
        ratio = result.ratio(rates[result.device])
        table.add_row(
            result.name,
            _number(result.value, result.unit),
            _number(result.official, result.unit),
            "-" if ratio is None else f"{ratio:.2g}" if ratio < 0.1 else f"{ratio:.2f}",
        )
    return table


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


if __name__ == "__main__":
    main()
