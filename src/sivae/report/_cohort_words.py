"""What was found over individuals, in words: from tables of `sivae.cohort` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

ASSOCIATED: Final = "associated"
NOT_ASSOCIATED: Final = "not associated"
UNTESTED: Final = "untested"
MEANING: Final = {
    ASSOCIATED: "Connectivity changes, and none of the controls explains it.",
    "follows mean expression": "How much of the gene there is changes too, and that explains it.",
    "follows detection": "In how many cells the gene is seen changes too, and that explains it.",
    "follows depth": "Cells were sequenced more or less deeply, and that explains it.",
    "follows number of cells": "Individuals have more or fewer cells, and that explains it.",
    "follows composition": "The shares of cell types differ, and that explains it.",
    "not with equal numbers of cells": "With equally many cells drawn from everyone, the change is not seen.",
    NOT_ASSOCIATED: "No change beyond what chance gives.",
    UNTESTED: "Too few individuals have a value.",
}
"""What each verdict means, in the order of the table."""
MINUS: Final = "\N{MINUS SIGN}"
BOOLEAN: Final = ["False", "True"]
FEW: Final = 12
"""Individuals below which strong effects alone can be found."""
NOMINAL: Final = 0.05
"""Largest p of what is said to be there where one thing is tested."""
SEVERAL: Final = 3
"""Genes that can have something in common."""


def sig(value: float, digits: int = 3) -> str:
    """A number with so many digits and a true minus sign; "–" for one that is not known."""
    if not np.isfinite(value):
        return "–"
    large = abs(value) >= 10**digits
    return (f"{value:,.0f}" if large else f"{value:.{digits}g}").replace("-", MINUS)


def percent(rate: float) -> str:
    """A share as a percentage."""
    return f"{100 * rate:g} %"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and its noun: "1 gene", "1,200 genes"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(names: Iterable[object], limit: int = 8) -> str:
    """A, B and C; of many the first few."""
    every = [str(name) for name in names]
    if len(every) > limit:
        return f"{', '.join(every[:limit])} and {len(every) - limit:,} more"
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)


def direction(attrs: dict[Any, Any]) -> str:
    """Where less and more are: "as age rises", "in case than in control"."""
    levels = [str(level) for level in attrs["levels"]]
    if attrs["kind"] == "binary" and len(levels) == 2:  # noqa: PLR2004
        if levels == BOOLEAN:
            return f"where {attrs['phenotype']} is True than where it is False"
        return f"in {levels[1]} than in {levels[0]}"
    if attrs["kind"] == "ordered":
        return f"as {attrs['phenotype']} goes from {levels[0]} to {levels[-1]}"
    return f"as {attrs['phenotype']} rises"


def unit(attrs: dict[Any, Any]) -> str:
    """What an effect is per: "per unit of age", "in case, compared with control"."""
    levels = [str(level) for level in attrs["levels"]]
    if attrs["kind"] == "binary" and len(levels) == 2:  # noqa: PLR2004
        if levels == BOOLEAN:
            return f"where {attrs['phenotype']} is True, compared with where it is False"
        return f"in {levels[1]}, compared with {levels[0]}"
    return f"per {'step' if attrs['kind'] == 'ordered' else 'unit'} of {attrs['phenotype']}"


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Genes by p, then by the size of t, then by name."""
    gene = table.index.to_numpy(dtype=str)
    order = np.lexsort((gene, -table["t"].abs().to_numpy(), table["p"].to_numpy()))
    found: pd.DataFrame = table.iloc[order]
    found.attrs = dict(table.attrs)
    return found


def rows_in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by p, then by the size of t; others stay as they are."""
    order = np.lexsort((-table["t"].abs().to_numpy(), table["p"].to_numpy()))
    found: pd.DataFrame = table.iloc[order].reset_index(drop=True)
    found.attrs = dict(table.attrs)
    return found


def followers(table: pd.DataFrame) -> dict[str, int]:
    """How many genes have each verdict that says that something else explains them."""
    counts = table["verdict"].astype(str).value_counts()
    return {name: int(counts[name]) for name in MEANING if name in counts and name not in _PLAIN}


_PLAIN: Final = (ASSOCIATED, NOT_ASSOCIATED, UNTESTED)


def found_words(table: pd.DataFrame) -> str:
    """The finding about genes in one or two sentences.

    Parameters
    ----------
    table
        What `sivae.cohort.associate` returns.
    """
    attrs, n_genes = dict(table.attrs), len(table)
    rate, name = percent(float(attrs["fdr"])), attrs["phenotype"]
    found = table[table["verdict"] == ASSOCIATED]
    less = int((found["effect"] < 0).sum())
    if len(found):
        more = len(found) - less
        way = "less" if less else "more"
        both = f"{less:,} less and {more:,} more" if less and more else way if len(found) == 1 else f"all {way}"
        words = (
            f"{len(found):,} of {counted(n_genes, 'gene')} {'changes its' if len(found) == 1 else 'change their'} "
            f"connectivity with {name} (false discovery rate {rate}): {both} connected "
            f"{direction(attrs)}."
        )
    else:
        words = f"No gene of {n_genes:,} was found to change its connectivity with {name} (false discovery rate {rate}"
        words += f"{_smallest(table)})."
    other = followers(table)
    if not other:
        return words
    reasons = ", ".join(f"{count:,} {verdict.replace('follows', 'by', 1)}" for verdict, count in other.items())
    further = "more " if len(found) else ""
    total = sum(other.values())
    verb = "changes" if total == 1 else "change"
    number = counted(total, f"{further}gene", f"{further}genes")
    return f"{words} {number} {verb}, but something else explains it: {reasons}."


def _smallest(table: pd.DataFrame) -> str:
    q_g = table["q"].to_numpy(dtype=np.float64)
    if not np.isfinite(q_g).any():
        return "; none could be tested"
    least = int(np.nanargmin(q_g))
    if q_g[least] <= float(table.attrs["fdr"]):
        return ""
    return f"; the smallest q is {sig(float(q_g[least]), 2)} ({table.index[least]})"


# ------------------------------------------------------------------------------------------------------------- how sure


def detectable(n_individuals: int, n_covariates: int, p: float) -> float:
    """Correlation that n individuals show with p at most this in four of five cohorts; NaN for too few.

    By Fisher's transformation, tanh((z_{1 - p / 2} + z_{0.8}) / sqrt(n - 3 - covariates)).
    """
    from scipy.stats import norm

    freedom = n_individuals - 3 - n_covariates
    if freedom < 1:
        return float("nan")
    return float(np.tanh((norm.isf(p / 2) + norm.isf(0.2)) / np.sqrt(freedom)))


def power_words(table: pd.DataFrame, n_tested: int) -> str:
    """How strong a change has to be so that so many individuals show it."""
    attrs = table.attrs
    n, fdr = int(attrs["n_individuals"]), float(attrs["fdr"])
    one = detectable(n, len(attrs["covariates"]), 0.05)
    all_ = detectable(n, len(attrs["covariates"]), fdr / max(n_tested, 1))
    if not np.isfinite(one):
        return f"{n} individuals are too few to say how strong a change must be to be found: expect to find nothing."
    return (
        f"With {n} individuals, a gene looked at alone must correlate with {attrs['phenotype']} by about {one:.2f} to "
        f"be found (p below 0.05) four times in five; one among {n_tested:,} genes, to be found after correction for "
        f"so many, by about {all_:.2f}. Weaker changes may be there and not be seen. sivae.cohort.power says how many "
        "individuals, and how many cells of each, a study needs."
    )


def next_steps(table: pd.DataFrame, *, has_sets: bool) -> list[str]:
    """What to do with what was found."""
    name = table.attrs["phenotype"]
    found = table[table["verdict"] == ASSOCIATED]
    if len(found):
        steps = [
            f"Look at the pictures of the first genes: does connectivity go with {name} in all individuals, or does it "
            "hang on one or two?"
        ]
        if len(found) >= SEVERAL:
            steps.append(
                "Look at the edges: a hub that loses its targets is found with them, and edges tell who is who."
            )
        if len(found) >= SEVERAL and not has_sets:
            steps.append("Ask what the genes have in common: run again with --gene-sets sets.gmt.")
        return [*steps, "Look for the same genes in other individuals. That is the only proof that counts."]
    steps = [
        "Do not read the first genes of a list in which nothing is significant as findings.",
        "Ask with fewer tests: gene sets (--gene-sets sets.gmt) and modules add up small changes of many genes.",
        "Add individuals rather than cells: the individual is the unit of evidence.",
    ]
    if table.attrs["covariates"]:
        steps.append("Covariates cost evidence: name those alone that have to be held fixed.")
    return steps


def edge_words(edges: pd.DataFrame) -> str:
    """The finding about edges in a sentence."""
    rate = percent(float(edges.attrs["fdr"]))
    found = edges[edges["associated"]]
    if not len(found):
        number = counted(len(edges), "edge")
        return f"None of {number} goes with {edges.attrs['phenotype']} (false discovery rate {rate}{_least(edges)})."
    weaker = int((found["effect"] * np.sign(found["mean"]) < 0).sum())
    return (
        f"{len(found):,} of {counted(len(edges), 'edge')} {'goes' if len(found) == 1 else 'go'} with "
        f"{edges.attrs['phenotype']} (false discovery rate {rate}): {weaker:,} get weaker and {len(found) - weaker:,} "
        f"stronger {direction(dict(edges.attrs)) if edges.attrs['kind'] != 'binary' else unit(dict(edges.attrs))}."
    )


def rows_words(table: pd.DataFrame, what: tuple[str, str], fdr: float) -> str:
    """How many rows of a table have q at most the rate, in a sentence; `what` a row is, one and many."""
    found, name = int((table["q"] <= fdr).sum()), table.attrs["phenotype"]
    if found:
        verb = "goes" if found == 1 else "go"
        return f"{found:,} of {counted(len(table), *what)} {verb} with {name} (q at most {fdr:g})."
    return f"None of {counted(len(table), *what)} goes with {name} (q at most {fdr:g}{_least(table)})."


def _least(table: pd.DataFrame) -> str:
    q = table["q"].to_numpy(dtype=np.float64)
    return f"; the smallest q is {sig(float(np.nanmin(q)), 2)}" if np.isfinite(q).any() else ""


def map_words(table: pd.DataFrame) -> str:
    """Whether individuals of like phenotype are alike, in a sentence or two."""
    place, name = list(table.index).index("similarity"), table.attrs["phenotype"]
    row = {key: float(table[key].to_numpy()[place]) for key in ("p", "r2", "p_given_depth", "p_given_cells")}
    alike = row["p"] <= NOMINAL
    p, share = sig(row["p"], 2), f"{100 * row['r2']:.0f} %"
    if alike:
        words = f"Individuals of like {name} have more alike graphs than others (p {p})"
    else:
        words = f"There is no sign that individuals of like {name} have more alike graphs than others (p {p})"
    words += f"; {name} explains {share} of the squared distances."
    if not alike:
        return words
    doubts = [
        what for what, key in (("depth", "p_given_depth"), ("the number of cells", "p_given_cells"))
        if np.isfinite(row[key]) and row[key] > NOMINAL
    ]  # fmt: skip
    return words + (f" Given {listed(doubts)}, this is not seen." if doubts else "")


# -------------------------------------------------------------------------------------------------------------- caveats


def caveats(table: pd.DataFrame, *, cell_types: bool, mode: str, notes: Iterable[str]) -> list[str]:
    """What limits the result, that of these data first."""
    n = int(table.attrs["n_individuals"])
    found = list(notes)
    if not cell_types:
        found.append(
            "No cell types were given. Where the shares of cell types differ with the phenotype, that counts as a "
            "change of connectivity: name the column with --cell-type. As a control, clusters of the cell map stand "
            "for types."
        )
    if n < FEW:
        found.append(f"{n} individuals find strong changes alone. That a gene is not found says little.")
    if mode == "separate":
        found.append("A model was trained for each individual: their differences hold what training leaves to chance.")
    return [*found, *ALWAYS]


ALWAYS: Final = (
    "That connectivity goes with a phenotype is an association. It shows neither regulation nor a cause: treatment, "
    "diet, sampling and whatever else goes with the phenotype may stand behind it.",
    "Targets change with their regulator: where a hub loses its targets, hub and targets are found together.",
    "A gene that is rarely seen has a large error. That it is not found does not say that it is unchanged.",
    "Controls are known with errors of their own, and take off no more than they know.",
)
