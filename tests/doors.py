"""Every public function and method, called as it should be on small made-up data: what tests of bad input spoil."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
from associations import made_edges, made_power, made_sets, mapped
from builders import SMALL, train
from individuals import made_samples

from sivae import (
    Architecture,
    PublishedOptions,
    SiVAE,
    TrainOptions,
    cohort,
    datasets,
    explorer,
    io,
    pl,
    pp,
    report,
    tl,
)
from sivae.datasets import planted, planted_cohort

SETS = {"one": [f"gene_{i}" for i in range(1, 9)], "two": [f"gene_{i}" for i in range(9, 17)]}
COUNTS = ("x", "counts")


def cells(n=60, g=24):
    """Counts in two batches, dense, no cell empty, as nobody has set them up."""
    adata = planted(n, g, n_factors=2, genes_per_factor=8, n_batches=2, signed=True, seed=3)
    adata.X = adata.X.toarray() + (np.arange(g) == 0)
    adata.obs["kind"] = pd.Categorical(np.where(np.arange(n) % 3 == 0, "a", "b"))
    adata.obs["depth"] = np.linspace(1.0, 2.0, n)
    return adata


def _model(adata, **options):
    SiVAE.setup_anndata(adata, batch_key="batch")
    model = SiVAE(adata, **({"n_latent": 2, "n_profile": 10, "architecture": SMALL} | options))
    train(model, max_steps=5, checks=2)
    return model


@functools.cache
def _made():
    """A model, its annotated cells with everything that `tl` writes, and tables that were made of them."""
    adata = cells()
    model = _model(adata)
    model.annotate(adata)
    tl.gene_neighbors(adata, 5)
    tl.hubs(adata)
    tl.modules(adata, 1.0, min_size=2, fdr=0.9, n_resamples=4)
    tl.module_scores(adata)
    tl.gene_set_scores(adata, SETS)
    adata.varm["PCs"] = np.random.default_rng(0).normal(size=(adata.n_vars, 2))
    adata.obsm["X_pca"] = np.random.default_rng(1).normal(size=(adata.n_obs, 2))
    adata.obsm["X_umap"] = adata.obsm["X_pca"]
    tables = {
        "contributions": tl.contributions(adata, model, cells=["cell_1"]),
        "enrichment": tl.enrich(adata, SETS, min_size=2),
        "variance": tl.explained_variance(adata),
        "awareness": tl.feature_awareness(adata, model),
    }
    found = {
        name: tl.attributions(adata, model, method=name, n_cells=20, n_steps=5)
        for name in ("saliency", "gradient_x_input")
    }
    tables["agreement"] = tl.attribution_agreement(adata, found)
    tables["alike"] = tl.attribution_similarity(adata, found)
    return adata, model, tables, found


@functools.cache
def published():
    """A model of the published recipe, trained in its three phases."""
    adata = cells()
    SiVAE.setup_anndata(adata, batch_key="batch")
    small = PublishedOptions(encoder=(8,), decoder=(8, 8), iterations=4, batch_size=32, kl_warmup=2)
    model = SiVAE(adata, n_latent=2, recipe="choi2023", published=small)
    train(model, max_steps=None, checks=2)
    return model


@functools.cache
def _individuals():
    samples = mapped(made_samples(10, 20))
    samples.var["sivae_module"] = pd.Categorical(np.where(np.arange(20) % 2, "1", "2"))
    samples.var["kind"] = np.where(np.arange(20) % 4, "x", "y")
    association = cohort.associate(samples, "severity", n_permutations=99)
    edges = cohort.edges(samples, "severity", n_permutations=99)
    return samples, association, edges


@functools.cache
def _many():
    return planted_cohort(6, 30, 24, n_regulators=2, targets=3, n_rewired=1, n_expression=2)


class World:
    """Fresh copies of what the doors are called with; `folder` is where files go."""

    def __init__(self, folder):
        self.folder = Path(folder)
        adata, self.model, tables, self.found = _made()
        self.adata = adata.copy()
        self.tables = {name: table.copy() for name, table in tables.items()}
        samples, association, edges = _individuals()
        self.samples, self.association, self.edges = samples.copy(), association.copy(), edges.copy()
        self.cells = cells()
        self.ready = cells()
        SiVAE.setup_anndata(self.ready, batch_key="batch")
        self.many = _many().copy()

    def sets(self):
        path = self.folder / "sets.gmt"
        path.write_text("".join(f"{name}\tabout\t" + "\t".join(genes) + "\n" for name, genes in SETS.items()))
        return path


def _fresh(world):
    return SiVAE(world.ready, n_latent=2, n_profile=10, architecture=SMALL)


def _blocks():
    return [np.ones((3, 4), np.float32), np.ones((2, 4), np.float32)]


def _saved(world):
    folder = world.folder / "model"
    if not folder.exists():
        world.model.save(folder)
    return folder


FEW = {"n_permutations": 99}
CALLS = {
    "Architecture": lambda w: (Architecture, {"n_joint": 4}),
    "PublishedOptions": lambda w: (PublishedOptions, {"iterations": 3}),
    "PublishedOptions.preset": lambda w: (PublishedOptions.preset, {"name": "tutorial"}),
    "SiVAE": lambda w: (SiVAE, {"adata": w.ready, "n_latent": 2, "architecture": SMALL}),
    "SiVAE.setup_anndata": lambda w: (SiVAE.setup_anndata, {"adata": w.cells}),
    "SiVAE.train": lambda w: (
        _fresh(w).train,
        {"max_epochs": 1, "progress": False, "accelerator": "cpu", "options": TrainOptions(max_steps=2, checks=1)},
    ),
    "SiVAE.get_latent_representation": lambda w: (w.model.get_latent_representation, {"adata": w.cells}),
    "SiVAE.get_feature_representation": lambda w: (w.model.get_feature_representation, {"adata": w.cells}),
    "SiVAE.get_normalized_expression": lambda w: (w.model.get_normalized_expression, {"adata": w.cells}),
    "SiVAE.get_attributions": lambda w: (
        lambda **k: list(w.model.get_attributions(**k)),
        {"adata": w.cells, "indices": [0, 1], "method": "saliency", "n_steps": 3},
    ),
    "SiVAE.get_decoder_layer": lambda w: (w.model.get_decoder_layer, {"layer": 1, "adata": w.cells}),
    "SiVAE.get_elbo": lambda w: (w.model.get_elbo, {"adata": w.cells}),
    "SiVAE.get_reconstruction_error": lambda w: (w.model.get_reconstruction_error, {"adata": w.cells}),
    "SiVAE.get_pretrained_representation": lambda w: (published().get_pretrained_representation, {"adata": w.cells}),
    "SiVAE.sample": lambda w: (w.model.sample, {"n_cells": 3}),
    "SiVAE.explain": lambda w: (w.model.explain, {"adata": w.cells}),
    "SiVAE.rotate": lambda w: (w.model.rotate, {"kind": "none"}),
    "SiVAE.annotate": lambda w: (w.model.annotate, {"adata": w.cells}),
    "SiVAE.save": lambda w: (w.model.save, {"folder": w.folder / "saved"}),
    "SiVAE.load": lambda w: (SiVAE.load, {"folder": _saved(w), "adata": w.cells}),
    "TrainOptions": lambda w: (TrainOptions, {"max_steps": 3}),
    "cohort.associate": lambda w: (cohort.associate, {"samples": w.samples, "phenotype": "severity"} | FEW),
    "cohort.associate_map": lambda w: (cohort.associate_map, {"samples": w.samples, "phenotype": "severity"} | FEW),
    "cohort.central_genes": lambda w: (cohort.central_genes, {"samples": w.samples, "n_top": 5}),
    "cohort.connectivity": lambda w: (
        cohort.connectivity,
        {"adata": w.adata, "sample_key": "batch", "model": w.model, "n_draws": 1, "n_folds": 4, "n_latent": 2},
    ),
    "cohort.edge_classes": lambda w: (cohort.edge_classes, {"samples": w.samples, "classes": "kind"} | FEW),
    "cohort.edges": lambda w: (cohort.edges, {"samples": w.samples, "phenotype": "severity"} | FEW),
    "cohort.expression_tracking": lambda w: (
        cohort.expression_tracking, {"samples": w.samples, "phenotype": "severity"}
    ),
    "cohort.gene_classes": lambda w: (cohort.gene_classes, {"names": ["RPL3", "MT-CO1"]}),
    "cohort.gene_sets": lambda w: (
        cohort.gene_sets,
        {
            "samples": w.samples, "phenotype": "severity",
            "gene_sets": {"one": [f"gene{i:03d}" for i in range(8)]},
        } | FEW,
    ),
    "cohort.individuals_map": lambda w: (cohort.individuals_map, {"samples": w.samples}),
    "cohort.modules": lambda w: (cohort.modules, {"samples": w.samples, "phenotype": "severity"} | FEW),
    "cohort.power": lambda w: (
        cohort.power,
        {
            "adata": w.many, "sample_key": "donor", "cells": (20,), "individuals": (4,),
            "effects": (0.5,), "n_repeats": 2,
        },
    ),
    "cohort.predict": lambda w: (
        cohort.predict, {"samples": w.samples, "phenotype": "severity", "n_folds": 2, "n_permutations": 99}
    ),
    "cohort.similarity": lambda w: (cohort.similarity, {"samples": w.samples}),
    "cohort.subsets": lambda w: (cohort.subsets, {"adata": w.cells, "sample_key": "batch", "n_cells": 5}),
    "cohort.yardstick": lambda w: (cohort.yardstick, {"samples": w.samples, "individual_key": "phenotype"}),
    "datasets.eight_genes": lambda w: (datasets.eight_genes, {"n_cells": 20}),
    "datasets.pbmc700": lambda w: (datasets.pbmc700, {}),
    "datasets.planted": lambda w: (datasets.planted, {"n_cells": 20, "n_genes": 12, "n_factors": 2}),
    "datasets.planted_cohort": lambda w: (
        datasets.planted_cohort,
        {"n_individuals": 4, "n_cells": 10, "n_genes": 24,
         "n_regulators": 2, "targets": 3, "n_rewired": 1, "n_expression": 2},
    ),
    "explorer.build": lambda w: (explorer.build, {"adata": w.adata, "path": w.folder / "explorer.html"}),
    "io.from_reader": lambda w: (
        io.from_reader,
        {"read": lambda start, stop: np.ones((stop - start, 4)), "obs": list("abcde"), "var_names": list("ghij")},
    ),
    "io.write_blocks": lambda w: (
        io.write_blocks, {"path": w.folder / "blocks.h5ad", "blocks": _blocks(), "var_names": list("ghij")}
    ),
    "io.write_h5ad": lambda w: (io.write_h5ad, {"adata": w.cells, "path": w.folder / "cells.h5ad"}),
    "pl.association": lambda w: (pl.association, {"table": w.association}),
    "pl.attribution_agreement": lambda w: (pl.attribution_agreement, {"table": w.tables["agreement"]}),
    "pl.attribution_map": lambda w: (pl.attribution_map, {"table": w.tables["alike"]}),
    "pl.attribution_similarity": lambda w: (pl.attribution_similarity, {"table": w.tables["alike"]}),
    "pl.awareness": lambda w: (pl.awareness, {"table": w.tables["awareness"]}),
    "pl.biplot": lambda w: (pl.biplot, {"adata": w.adata}),
    "pl.cells": lambda w: (pl.cells, {"adata": w.adata}),
    "pl.cells_and_genes": lambda w: (pl.cells_and_genes, {"adata": w.adata}),
    "pl.chord": lambda w: (pl.chord, {"adata": w.adata}),
    "pl.connectivity": lambda w: (pl.connectivity, {"samples": w.samples, "genes": ["gene000", "gene001"]}),
    "pl.contributions": lambda w: (pl.contributions, {"table": w.tables["contributions"], "gene": "gene_1"}),
    "pl.edge_association": lambda w: (pl.edge_association, {"samples": w.samples, "edges": w.edges}),
    "pl.edge_classes": lambda w: (pl.edge_classes, {"samples": w.samples, "edges": made_edges(w.samples), "fdr": 0.9}),
    "pl.enrichment": lambda w: (pl.enrichment, {"table": w.tables["enrichment"]}),
    "pl.explained_variance": lambda w: (pl.explained_variance, {"table": w.tables["variance"]}),
    "pl.gene_association": lambda w: (
        pl.gene_association, {"samples": w.samples, "gene": "gene000", "phenotype": "severity"}
    ),
    "pl.gene_set_association": lambda w: (pl.gene_set_association, {"table": made_sets()}),
    "pl.genes": lambda w: (pl.genes, {"adata": w.adata}),
    "pl.history": lambda w: (pl.history, {"adata_or_frame": w.adata}),
    "pl.hubs": lambda w: (pl.hubs, {"adata": w.adata}),
    "pl.individuals": lambda w: (pl.individuals, {"samples": w.samples}),
    "pl.loading_images": lambda w: (pl.loading_images, {"adata": w.adata, "shape": (4, 6)}),
    "pl.loading_scatter": lambda w: (pl.loading_scatter, {"adata": w.adata}),
    "pl.loadings": lambda w: (pl.loadings, {"adata": w.adata}),
    "pl.loadings_heatmap": lambda w: (pl.loadings_heatmap, {"adata": w.adata}),
    "pl.module_network": lambda w: (pl.module_network, {"adata": w.adata}),
    "pl.module_scores": lambda w: (pl.module_scores, {"adata": w.adata, "groupby": "kind"}),
    "pl.module_sizes": lambda w: (pl.module_sizes, {"adata": w.adata}),
    "pl.modules": lambda w: (pl.modules, {"adata": w.adata}),
    "pl.neighborhood": lambda w: (pl.neighborhood, {"adata": w.adata, "gene": "gene_1", "n_neighbors": 3}),
    "pl.network_difference": lambda w: (
        pl.network_difference, {"samples": w.samples, "by": "severity", "n_extremes": 2}
    ),
    "pl.pairs": lambda w: (pl.pairs, {"adata": w.adata}),
    "pl.posteriors": lambda w: (pl.posteriors, {"adata": w.adata, "genes": ["gene_1"]}),
    "pl.power": lambda w: (pl.power, {"table": made_power()}),
    "pl.save": lambda w: (pl.save, {"drawn": pl.loadings(w.adata), "path": w.folder / "figure.svg"}),
    "pl.similarity": lambda w: (pl.similarity, {"samples": w.samples}),
    "pl.traversal": lambda w: (pl.traversal, {"adata": w.adata}),
    "pp.k_folds": lambda w: (pp.k_folds, {"adata": w.cells, "k": 2}),
    "pp.select_genes": lambda w: (pp.select_genes, {"adata": w.cells, "n_genes": 5}),
    "pp.split_cells": lambda w: (pp.split_cells, {"adata": w.cells}),
    "report.build": lambda w: (report.build, {"adata": w.adata, "path": w.folder / "report.html"}),
    "report.build_cohort": lambda w: (
        report.build_cohort,
        {"samples": w.samples, "path": w.folder / "cohort.html", "association": w.association},
    ),
    "tl.attribution_agreement": lambda w: (tl.attribution_agreement, {"adata": w.adata, "found": w.found}),
    "tl.attribution_similarity": lambda w: (tl.attribution_similarity, {"adata": w.adata, "found": w.found}),
    "tl.attributions": lambda w: (
        tl.attributions, {"adata": w.adata, "model": w.model, "method": "saliency", "n_cells": 5, "n_steps": 3}
    ),
    "tl.consensus": lambda w: (tl.consensus, {"adata": w.adata, "embeddings": ["X_sivae", "PCs"]}),
    "tl.contributions": lambda w: (tl.contributions, {"adata": w.adata, "model": w.model, "cells": ["cell_1"]}),
    "tl.enrich": lambda w: (tl.enrich, {"adata": w.adata, "gene_sets": SETS}),
    "tl.explained_variance": lambda w: (tl.explained_variance, {"adata": w.adata}),
    "tl.feature_awareness": lambda w: (tl.feature_awareness, {"adata": w.adata}),
    "tl.gene_graph": lambda w: (tl.gene_graph, {"adata": w.adata}),
    "tl.gene_neighbors": lambda w: (tl.gene_neighbors, {"adata": w.adata, "n_neighbors": 5}),
    "tl.gene_relevance": lambda w: (tl.gene_relevance, {"adata": w.adata, "n_neighbors": 5}),
    "tl.gene_set_coherence": lambda w: (tl.gene_set_coherence, {"adata": w.adata, "gene_sets": SETS, "n_draws": 20}),
    "tl.gene_set_scores": lambda w: (tl.gene_set_scores, {"adata": w.adata, "gene_sets": SETS}),
    "tl.hub_table": lambda w: (tl.hub_table, {"adata": w.adata}),
    "tl.hubs": lambda w: (tl.hubs, {"adata": w.adata}),
    "tl.inferred_loadings": lambda w: (tl.inferred_loadings, {"adata": w.adata, "n_points": 3}),
    "tl.mixture_likelihood": lambda w: (tl.mixture_likelihood, {"adata": w.adata}),
    "tl.module_preservation": lambda w: (
        tl.module_preservation, {"adata": w.adata, "other": w.adata.copy(), "n_permutations": 99}
    ),
    "tl.module_scores": lambda w: (tl.module_scores, {"adata": w.adata}),
    "tl.modules": lambda w: (tl.modules, {"adata": w.adata, "resolution": 1.0, "n_resamples": 4}),
    "tl.neighbor_overlap": lambda w: (tl.neighbor_overlap, {"adata": w.adata, "n_neighbors": 5}),
    "tl.neighbor_r2": lambda w: (tl.neighbor_r2, {"adata": w.adata}),
    "tl.neighbors_of": lambda w: (tl.neighbors_of, {"adata": w.adata, "genes": ["gene_1"]}),
    "tl.rank_loadings": lambda w: (tl.rank_loadings, {"adata": w.adata}),
    "tl.read_gmt": lambda w: (tl.read_gmt, {"path": w.sets()}),
    "tl.recoded_loadings": lambda w: (tl.recoded_loadings, {"adata": w.adata, "groupby": "kind", "n_components": 1}),
    "tl.write_graph": lambda w: (tl.write_graph, {"adata": w.adata, "path": w.folder / "graph.csv"}),
}  # fmt: skip


def fingerprint(adata):
    """Everything that an AnnData holds, as text: equal before and after what must not change it."""
    parts = [str(adata.shape), _text_of(adata.X), _text_of(adata.obs), _text_of(adata.var), _text_of(dict(adata.uns))]
    for place in ("layers", "obsm", "varm", "obsp", "varp"):
        parts += [f"{place}/{key}: {_text_of(value)}" for key, value in sorted(dict(getattr(adata, place)).items())]
    return "\n".join(parts)


def _text_of(value):
    if isinstance(value, pd.DataFrame):
        return f"{list(value.columns)} {list(value.index)} {value.to_dict('list')}"
    if hasattr(value, "toarray"):
        return f"{value.format} {value.data.tobytes()} {value.indices.tobytes()} {value.indptr.tobytes()}"
    if isinstance(value, dict):
        return str({str(key): _text_of(entry) for key, entry in sorted(value.items(), key=lambda pair: str(pair[0]))})
    return f"{value.dtype} {value.tobytes()}" if isinstance(value, np.ndarray) else repr(value)


def files(folder):
    """What is in a folder: names, sizes and times."""
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in Path(folder).rglob("*"))
