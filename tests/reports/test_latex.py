"""The table for a paper: its numbers, its bold, what is published, and that LaTeX can read it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from actloc.reports.latex import escaped, map_latex
from actloc.settings.published import PublishedMap
from tests.reports.scored_runs import evaluation

PUBLISHED = PublishedMap(
    source="Some & Others, Table 2",
    subset="test",
    protocol="actionformer",
    tious=(0.3, 0.5, 0.7),
    map=(82.1, None, 43.9),
    average=66.8,
)


def body_of(text: str) -> list[list[str]]:
    """The cells of every row between the rules of a table; fails where LaTeX would."""
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert [text.count(rule) for rule in (r"\toprule", r"\bottomrule")] == [1, 1]
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    inside = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in inside.splitlines() if not re.fullmatch(r"\\(top|mid)rule", line)]
    cells = []
    for row in rows:
        assert row.endswith(r" \\")
        cells.append(re.split(r"(?<!\\)&", row.removesuffix(r" \\")))
        assert len(cells[-1]) == len(columns)
    depth = 0
    for before, mark in re.findall(r"(\\?)([{}])", text):
        depth += 0 if before else 1 if mark == "{" else -1
        assert depth >= 0
    assert depth == 0
    unmarked = re.sub(r"^%.*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"(?<!\\)[#_%]", unmarked)
    return [[cell.strip() for cell in row] for row in cells]


def test_the_table_of_a_paper() -> None:
    seeds = [evaluation(f"af_seed{seed}", seed, published=PUBLISHED) for seed in (0, 1, 2)]
    other = evaluation("50%_of #1", 0, 6.0, settings={"optimizer.learning_rate": 1.0}, published=PUBLISHED)
    text = map_latex([*seeds, other])
    head, mean, single, interval, theirs = body_of(text)
    assert head == ["", "0.30", "0.50", "0.70", "Average"]
    assert mean[0] == r"af\_seed*, mean of 3 seeds"
    assert all(re.fullmatch(r"\\textbf\{\d+\.\d\d \$\\pm\$ \d+\.\d\d\}", cell) for cell in mean[1:])
    assert single[0] == r"50\%\_of \#1"
    assert r"\textbf" not in " ".join(single)
    assert interval[0] == r"\quad {\footnotesize 95 \% interval}"
    assert theirs == [r"published: Some \& Others, Table 2$^{\dagger}$", "82.1", "--", "43.9", "66.8"]
    assert text.count(r"\midrule") == 2
    (caption,) = re.findall(r"\\caption\{(.*)\}\n", text)
    for said in ("custom test, 8 videos", "protocol actionformer", "commit 0123456789ab", "n = 3", r"$^{\dagger}$Publ"):
        assert said in caption


def test_nothing_is_published_where_nothing_is_known() -> None:
    text = map_latex([evaluation("a")])
    assert "dagger" not in text
    assert len(body_of(text)) == 3
    assert r"\textbf" not in text


def test_what_cannot_be_compared_has_no_bold_and_says_so() -> None:
    text = map_latex([evaluation("a"), evaluation("b", protocol="activitynet")])
    assert r"\textbf" not in text
    assert "differ in data or protocol" in text
    assert "protocol actionformer, activitynet" in text


def test_cautions_are_comments() -> None:
    text = map_latex([evaluation("a")])
    comments = [line for line in text.splitlines() if line.startswith("%")]
    assert any("The test set is small" in line for line in comments)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a_b & c% #1 $x$", r"a\_b \& c\% \#1 \$x\$"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("~^<|>\n\x1b[31m", r"\textasciitilde{}\textasciicircum{}\textless{}\textbar{}\textgreater{} [31m"),
        ("1.00 ± 0.10", r"1.00 $\pm$ 0.10"),
    ],
)
def test_no_name_is_a_command(raw: str, shown: str) -> None:
    assert escaped(raw) == shown


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_makes_a_page_of_it(tmp_path: Path) -> None:
    names: list[Any] = ["a_b & c% #1 $x$ ~^<|>", r"\input{nowhere}"]
    table = map_latex([evaluation(name, seed, published=PUBLISHED) for seed, name in enumerate(names)])
    text = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{table}\\end{{document}}"
    (tmp_path / "table.tex").write_text(text)
    subprocess.run(["pdflatex", "-halt-on-error", "-interaction=batchmode", "table.tex"], cwd=tmp_path, check=True)
