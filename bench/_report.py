"""The tables of README.md, made from the JSON files in results/."""

from __future__ import annotations

import json
from typing import Any

from bench._common import HERE, RESULTS

START, END = "<!-- results: written by python -m bench -->", "<!-- end of results -->"
LABELS = {
    "published": "published design, all genes",
    "published_principal": "the same with profiles of fixed width",
    "ours_all_genes": "ours, Normal, all genes",
    "ours_blocks": "ours, Normal, blocks of 512 genes (default)",
    "ours_nb_all_genes": "ours, negative binomial, all genes",
    "ours_nb_blocks": "ours, negative binomial, blocks of 512 genes",
}


def rewrite() -> None:
    """Put the tables of every result there is between the two marks of README.md."""
    sections = []
    tables = {
        "steps": _steps,
        "loss": _loss,
        "ldvae": _ldvae,
        "attribution": _attribution,
        "null_hubs": _null_hubs,
        "planted_hubs": _planted_hubs,
    }
    for name, make in tables.items():
        path = RESULTS / f"{name}.json"
        result = json.loads(path.read_text()) if path.exists() else None
        sections.append(f"### {name}\n\n" + (make(result) if result else "Not run yet.\n"))
    readme = HERE / "README.md"
    before, rest = readme.read_text().split(START)
    after = rest.split(END)[1]
    readme.write_text(before + START + "\n\n" + "\n".join(sections) + "\n" + END + after)


def _conditions(result: dict[str, Any]) -> str:
    m, d = result["machine"], result["data"]
    return (
        f"{d['cells']} cells x {d['genes']} genes, {d['density']:.1%} non-zero, "
        f"{d['counts_per_cell']:.0f} counts per cell, {result['n_latent']} axes. {m['cpu']}, {m['cores']} cores, "
        f"{m['threads']} thread(s) for torch, torch {m['torch']}, Python {m['python']}; load average "
        f"{m['load_at_start'][0]} at the start and {result['load_at_end'][0]} at the end on {m['cores']} "
        f"cores; {result['written']}.\n"
    )


def _steps(result: dict[str, Any]) -> str:
    steps, ratios = result, result["published_over"]
    lines = [
        _conditions(result),
        f"{steps['batch_cells']} cells a step; median (least to most) over "
        f"{steps['milliseconds']['published']['repeats']} turns.\n",
        "| design | ms a step | published / this |",
        "| --- | --- | --- |",
    ]
    for name, value in steps["milliseconds"].items():
        ratio = _spread(ratios[name]) if name in ratios else "1"
        lines.append(f"| {LABELS[name]} | {_spread(value)} | {ratio} |")
    return "\n".join(lines) + "\n"


def _loss(found: dict[str, Any]) -> str:
    p, o = found["published"], found["ours"]
    reached = f"{o['seconds']} s (step {o['step']})" if o["reached"] else "not reached"
    return "\n".join(
        [
            _conditions(found),
            "| held-out Gaussian loss per cell | published design | ours, defaults |",
            "| --- | --- | --- |",
            f"| without any axis | {found['no_structure']} | {found['no_structure']} |",
            f"| at the start | {p['start_loss']} | {o['start_loss']} |",
            f"| best | {p['best_loss']} (step {p['best_step']} of {p['steps']}) | {o['best_loss']} |",
            f"| time to {p['best_loss']} or below | {p['best_seconds']} s | {reached} |",
            f"| ratio | | {found['published_over_ours']} |",
            f"| whole training | {p['seconds']} s | {o['seconds_in_all']} s ({o['steps_in_all']} steps) |\n",
        ]
    )


def _ldvae(result: dict[str, Any]) -> str:
    t, o = result["ldvae"], result["ours"]
    reached = f"{o['seconds']} s ({o['cpu_seconds']} s; step {o['step']})" if o["reached"] else "not reached"
    return (
        "\n".join(
            [
                _conditions(result),
                f"{result['data']['held_out_cells']} held-out cells; without any axis their log likelihood is "
                f"{result['no_structure']}. scvi-tools {t['scvi_tools']}.\n",
                "| held-out log likelihood per cell (higher is better) | LDVAE | ours, defaults |",
                "| --- | --- | --- |",
                f"| kept | {t['final']} ({t['epochs']} epochs) | {o['best']} |",
                f"| whole training, wall (processor) time | {t['seconds']} s ({t['cpu_seconds']} s) | "
                f"{o['seconds_in_all']} s ({o['cpu_seconds_in_all']} s) |",
                f"| first look at {t['final']} or above | {t['first_seconds_at_final']} s "
                f"({t['first_cpu_seconds_at_final']} s) | {reached} |",
                f"| ratio of these | | {result['ldvae_over_ours']} ({result['ldvae_over_ours_cpu']}) |",
            ]
        )
        + "\n"
    )


def _null_hubs(result: dict[str, Any]) -> str:
    rows = result["rows"]
    lines = [
        f"{len(rows)} data sets of {result['cells']} cells and about {rows[0]['genes']} genes without structure; "
        f"{sum(row['called'] > 0 for row in rows)} with any call at 5 % FDR. {result['written']}.\n",
        "| design | data sets | with any call | p < 0.05 | p < 0.005 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for design in dict.fromkeys(row["design"] for row in rows):
        own = [row for row in rows if row["design"] == design]
        below = [sum(row[key] for row in own) / len(own) for key in ("below_0.05", "below_0.005")]
        called = sum(row["called"] > 0 for row in own)
        lines.append(f"| {design} | {len(own)} | {called} | {below[0]:.3f} | {below[1]:.4f} |")
    return "\n".join(lines) + "\n"


def _planted_hubs(result: dict[str, Any]) -> str:
    rows = result["rows"]
    lines = [
        f"Precision (and recall) over {len(rows)} data sets of {result['cells']} cells, 500 genes, 20 hubs: mean "
        f"(least). Of the hubs {_mean(rows, 'connected_hubs'):.0%} are called connected, of all planted genes "
        f"{_mean(rows, 'connected_planted'):.0%}; {_mean(rows, 'connected_false'):.1%} of the calls are false. "
        f"{result['written']}.\n",
        "| score | all genes | given expression |",
        "| --- | --- | --- |",
    ]
    for name in rows[0]["scores"]:
        found = [[row["scores"][name][kind] for row in rows] for kind in (0, 1)]
        cells = [f"{sum(values) / len(values):.2f} ({min(values):.2f})" for values in found]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return float(sum(row[key] for row in rows) / len(rows))


def _attribution(result: dict[str, Any]) -> str:
    parts = []
    for name, found in result["sets"].items():
        by_gene = ", ".join(f"{m} {s} s" for m, s in found["gene_by_gene_seconds"].items())
        known = "truth_centered" in found["methods"]["loadings"]
        heads = ["centered", "uncentered", *(("truth_centered", "truth_uncentered") if known else ()), "seconds"]
        parts += [
            f"**{name}**: " + _conditions(result | {"data": found["data"]}),
            f"{result['n_cells']} cells. One pass per gene through the decoder would take: {by_gene}.\n",
            "| method | " + " | ".join(heads).replace("_", ", ") + " |",
            "| --- |" + " --- |" * len(heads),
            *(f"| {m} | " + " | ".join(f"{row[h]:.3g}" for h in heads) + " |" for m, row in found["methods"].items()),
            "",
        ]
    return "\n".join(parts)


def _spread(value: dict[str, Any]) -> str:
    return f"{value['median']:.3g} ({value['least']:.3g} to {value['most']:.3g})"
