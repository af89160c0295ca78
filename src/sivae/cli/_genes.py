"""Commands that print tables of the gene space of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sivae.cli._app import Run, app, plainly, visible

if TYPE_CHECKING:
    import pandas as pd

Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: a list of rows.")]
Number = Annotated[int, typer.Option("--n", "-n", min=1, help="Genes to show.")]


@app.command()
def neighbors(
    run: Run,
    genes: Annotated[list[str], typer.Argument(metavar="GENE...", help="One gene or several.")],
    *,
    n: Annotated[int | None, typer.Option("--n", "-n", min=1, help="Neighbors of each gene; 20 if not given.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="correlation, balanced, joint, cosine or euclidean; the run's if not given."),
    ] = None,
    csv: Csv = False,
    json: Json = False,
) -> None:
    """List the genes nearest to a gene, with the evidence that they go together."""
    from sivae._run import _gene_space

    with plainly():
        _show(_gene_space.neighbors(run, genes, n_neighbors=n, metric=metric), csv=csv, json=json)


@app.command()
def hubs(
    run: Run,
    *,
    n: Number = 20,
    every: Annotated[bool, typer.Option("--all", help="Show every gene.")] = False,
    score: Annotated[
        str | None, typer.Option(help="Order by strength, power, norm, degree, explained or attribution.")
    ] = None,
    csv: Csv = False,
    json: Json = False,
) -> None:
    """List the most central genes, by every measure, with the evidence that they follow anything."""
    from sivae._run import _gene_space

    with plainly():
        _show(_gene_space.hubs(run, n_genes=None if every else n, score=score), csv=csv, json=json)


@app.command()
def modules(
    run: Run,
    module: Annotated[str | None, typer.Argument(metavar="[MODULE]", help="Show the genes of this module.")] = None,
    *,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Genes named of each module.")] = 8,
    csv: Csv = False,
    json: Json = False,
) -> None:
    """List the modules with their most central genes, or the genes of one."""
    from sivae._run import _gene_space

    with plainly():
        _show(_gene_space.modules(run, module=module, n_genes=n), csv=csv, json=json)


@app.command()
def loadings(
    run: Run,
    *,
    axis: Annotated[int | None, typer.Option(help="Only this axis, counted from 1.")] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Genes at each end of an axis.")] = 10,
    every: Annotated[bool, typer.Option("--all", help="Show every gene.")] = False,
    csv: Csv = False,
    json: Json = False,
) -> None:
    """List the genes at both ends of each axis, with intervals."""
    from sivae._run import _gene_space

    with plainly():
        _show(_gene_space.loadings(run, axis=axis, n_genes=None if every else n), csv=csv, json=json)


@app.command()
def enrich(
    run: Run,
    gene_sets: Annotated[Path, typer.Argument(metavar="SETS.gmt", help="Gene sets, as GMT; may be gzipped.")],
    *,
    of: Annotated[str, typer.Option(help="axes, modules, hubs or neighbors.")] = "axes",
    gene: Annotated[str | None, typer.Option(help="The gene whose neighbors are asked about.")] = None,
    method: Annotated[str, typer.Option(help="auto, ora (over-representation), rank (Mann-Whitney) or gsea.")] = "auto",
    ignore_case: Annotated[bool, typer.Option("--ignore-case", help="CD3D and Cd3d are one gene.")] = False,
    q: Annotated[float, typer.Option("--q", help="Show rows with a false discovery rate of at most this.")] = 0.05,
    csv: Csv = False,
    json: Json = False,
) -> None:
    """List gene sets that are enriched among axes, modules, hubs or the neighbors of a gene; no network is needed."""
    from sivae._run import _gene_space

    with plainly():
        table = _gene_space.enrich(run, gene_sets, of=of, gene=gene, method=method, match_case=not ignore_case)
        found = table[table["q"] <= q]
        if found.empty and not (csv or json):
            typer.echo(f"None of {table['set'].nunique():,} sets is enriched at q <= {q:g}.")
            return
        _show(found, csv=csv, json=json)


def _show(table: pd.DataFrame, *, csv: bool, json: bool) -> None:
    """Print a table for people, or as CSV or JSON for programs, with every digit."""
    if csv:
        from sivae._spreadsheet import csv_text

        typer.echo(csv_text(table), nl=False)
    elif json:
        typer.echo(_json(table))
    else:
        typer.echo(_for_people(table))


def _json(table: pd.DataFrame) -> str:
    """A list of rows; null for what is missing or infinite. pandas would write small p-values as 0."""
    import json
    import math

    def plain(value: object) -> object:
        value = value.item() if hasattr(value, "item") else value
        return None if isinstance(value, float) and not math.isfinite(value) else value

    rows = [{name: plain(value) for name, value in row.items()} for row in table.to_dict("records")]
    return json.dumps(rows, indent=1, ensure_ascii=False)


def _for_people(table: pd.DataFrame) -> str:
    """Three digits, and long lists of genes cut."""
    import pandas as pd

    def word(value: object) -> str:
        if isinstance(value, float):
            return "" if value != value else f"{value:.3g}"
        text = visible(str(value)).replace("\n", "\\n")
        return text if len(text) <= 60 else f"{text[:57]}..."

    shown = table.apply(lambda column: column.map(word))
    text = pd.concat([pd.DataFrame([list(table.columns)], columns=table.columns), shown])
    width = {name: int(text[name].str.len().max()) for name in table.columns}
    right = {name: pd.api.types.is_float_dtype(table[name].dtype) for name in table.columns}
    lines = [
        "  ".join(v.rjust(width[n]) if right[n] else v.ljust(width[n]) for n, v in zip(table.columns, row, strict=True))
        for row in text.itertuples(index=False)
    ]
    return "\n".join(line.rstrip() for line in lines)
