"""Rows of the tables of a report over individuals, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sivae import _keys
from sivae._values import frame
from sivae.report import _cohort_words as say
from sivae.report._cohort_figures import set_rows
from sivae.report._cohort_words import sig

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

Row = dict[str, Any]
N_FIRST: Final = 20
N_ROWS: Final = 12
N_MEMBERS: Final = 5
N_TIED: Final = 3
"""Genes of the same smallest p, from which it is no chance."""
N_CENTRAL: Final = 15
GIVEN: Final = {
    "p": "alone",
    "p_given_expression": "mean expression",
    "p_given_detection": "detection",
    "p_given_depth": "depth",
    "p_given_cells": "number of cells",
    "p_given_composition": "composition",
    "p_matched": "equally many cells",
}
"""Columns of p, and what is held fixed."""


def first(table: pd.DataFrame) -> list[Row]:
    """The associated genes with the smallest p; without any the first of all."""
    return [
        {
            "gene": str(gene),
            "change": "more" if row["effect"] > 0 else "less",
            "mean": sig(row["mean_connectivity"]),
            "effect": sig(row["effect"]),
            "low": sig(row["low"]),
            "high": sig(row["high"]),
            "rho": sig(row["rho"], 2),
            "p": sig(row["p"], 2),
            "q": sig(row["q"], 2),
            "verdict": str(row["verdict"]),
        }
        for gene, row in _first(table).iterrows()
    ]


def _first(table: pd.DataFrame) -> pd.DataFrame:
    found = table[table["verdict"] == say.ASSOCIATED]
    return found.head(N_FIRST) if len(found) else table[table["p"].notna()].head(N_ROWS)


def least(table: pd.DataFrame) -> str:
    """The smallest p, where many genes have it: permutations give no smaller one."""
    p = table["p"].to_numpy(dtype=np.float64)
    known = p[np.isfinite(p)]
    return sig(float(known.min()), 2) if len(known) and (known == known.min()).sum() >= N_TIED else ""


def controls(table: pd.DataFrame) -> Row | None:
    """P of the first genes alone and with each control held fixed; None where no control was asked."""
    known = {name: words for name, words in GIVEN.items() if name in table and table[name].notna().any()}
    if len(known) < 2:  # noqa: PLR2004
        return None
    rows = [(str(gene), [sig(row[name], 2) for name in known]) for gene, row in _first(table).head(N_ROWS).iterrows()]
    return {"names": list(known.values()), "rows": rows}


def verdicts(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Each verdict that was given, how often, what it means."""
    counts = table["verdict"].astype(str).value_counts()
    return [(name, f"{int(counts[name]):,}", words) for name, words in say.MEANING.items() if name in counts]


def _interval(row: pd.Series[Any]) -> Row:
    return {"effect": sig(row["effect"]), "low": sig(row["low"]), "high": sig(row["high"]), "p": sig(row["p"], 2),
            "q": sig(row["q"], 2), "mean": sig(row["mean"])}  # fmt: skip


def edges(table: pd.DataFrame | None) -> Row | None:
    """The finding and the first edges."""
    if table is None or not len(table):
        return None
    rows = [
        {"a": str(row["gene_a"]), "b": str(row["gene_b"]), "share": f"{100 * row['share']:.0f} %", **_interval(row)}
        for _, row in table.head(N_ROWS).iterrows()
    ]
    return {"words": say.edge_words(table), "rows": rows, "any": bool(table["associated"].any())}


def modules(table: pd.DataFrame | None, samples: AnnData, fdr: float) -> Row | None:
    """The finding, the first pairs, and genes of the modules in them."""
    if table is None or not len(table):
        return None
    rows = [
        {
            "a": str(row["module_a"]),
            "b": str(row["module_b"]),
            "n": f"{row['n_a']:,}" if row["module_a"] == row["module_b"] else f"{row['n_a']:,} and {row['n_b']:,}",
            **_interval(row),
        }
        for _, row in table.head(N_ROWS).iterrows()
    ]
    named = list(dict.fromkeys(name for row in rows for name in (row["a"], row["b"])))
    members = [(name, _members(samples, name)) for name in sorted(named, key=lambda name: (len(name), name))]
    return {
        "words": say.rows_words(table, ("pair of modules", "pairs of modules"), fdr),
        "rows": rows,
        "members": [(name, genes) for name, genes in members if genes],
    }


def _members(samples: AnnData, module: str) -> str:
    """The most central genes of a module, where it is a column of `var`."""
    var = frame(samples.var)
    if _keys.MODULE not in var:
        return ""
    own = var[var[_keys.MODULE].astype(str) == module]
    if _keys.HUB_SCORE in own:
        own = own.sort_values(_keys.HUB_SCORE, ascending=False, kind="stable")
    return say.listed(own.index, N_MEMBERS) if len(own) else ""


def edge_classes(table: pd.DataFrame | None, fdr: float) -> Row | None:
    """The finding and every pair of classes."""
    if table is None or not len(table):
        return None
    rows = [{"a": str(row["class_a"]), "b": str(row["class_b"]), **_interval(row)} for _, row in table.iterrows()]
    return {"words": say.rows_words(table, ("count of edges", "counts of edges"), fdr), "rows": rows[:N_ROWS]}


def gene_sets(table: pd.DataFrame | None, fdr: float) -> Row | None:
    """The finding and the first sets."""
    if table is None or not len(table):
        return None
    rows = [
        {
            "set": str(row["set"]),
            "n": f"{int(row['n']):,}",
            "nes": sig(row["nes"]),
            "p": sig(row["p"], 2),
            "q": sig(row["q"], 2),
            "genes": say.listed(str(row["leading_edge"]).split(";"), N_MEMBERS) if row["leading_edge"] else "",
        }
        for _, row in set_rows(table).head(N_ROWS).iterrows()
    ]
    return {"words": say.rows_words(table, ("gene set", "gene sets"), fdr), "rows": rows}


def central(table: pd.DataFrame | None, association: pd.DataFrame) -> list[Row]:
    """The genes that are central in most individuals, and whether they change."""
    if table is None:
        return []
    verdict = association["verdict"].astype(str)
    return [
        {"gene": str(gene), "count": f"{int(row['count']):,}", "share": f"{100 * row['share']:.0f} %",
         "rank": sig(row["mean_rank"]), "verdict": verdict.get(gene, "–")}
        for gene, row in table.head(N_CENTRAL).iterrows()
    ]  # fmt: skip


def map_rows(table: pd.DataFrame | None) -> Row | None:
    """The finding and the axes of the map."""
    if table is None:
        return None
    rows = [
        {"axis": str(name), "share": f"{100 * row['share']:.0f} %", "rho": sig(row["rho"], 2), "p": sig(row["p"], 2),
         "depth": sig(row["p_given_depth"], 2), "cells": sig(row["p_given_cells"], 2)}
        for name, row in table.iterrows() if str(name) != "similarity"
    ]  # fmt: skip
    return {"words": say.map_words(table), "rows": rows}


def individuals(samples: AnnData, attrs: dict[Any, Any]) -> Row:
    """A row for each individual with phenotype, covariates, cells and depth, in the order of the phenotype."""
    obs = frame(samples.obs)
    asked = [str(attrs["phenotype"]), *map(str, attrs["covariates"])]
    also = {_keys.N_CELLS: "cells", _keys.DEPTH: "counts per cell"}
    columns = [name for name in [*asked, *also] if name in obs]
    obs = obs.sort_values(asked[0], kind="stable") if asked[0] in obs else obs
    rows = [(str(who), [_text(row[name]) for name in columns]) for who, row in obs[columns].iterrows()]
    return {"names": [also.get(name, name) for name in columns], "rows": rows}


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer):
        return f"{int(value):,}" if abs(int(value)) >= 10_000 else str(int(value))  # noqa: PLR2004
    if isinstance(value, float | np.floating):
        return sig(float(value), 4)
    return "–" if value is None or value != value else str(value)


def left_out(samples: AnnData, attrs: dict[Any, Any]) -> list[tuple[str, str]]:
    """Individuals that are not part of the tests, and why."""
    obs = frame(samples.obs)
    failed = dict(samples.uns[_keys.COHORT].get("failed", {}))
    rows = [(str(who), str(why)) for who, why in failed.items()]
    asked = [str(attrs["phenotype"]), *map(str, attrs["covariates"])]
    for who in attrs["left_out"]:
        lost = [name for name in asked if name in obs and who in obs.index and obs[name].isna()[who]]
        rows.append((str(who), f"no value of {say.listed(lost)}" if lost else "no connectivity"))
    return rows
