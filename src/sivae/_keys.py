"""Every name that siVAE writes into an AnnData, in one place."""

from __future__ import annotations

from typing import Final

UNS: Final = "sivae"
"""`uns`: set-up record, options, joint covariance, posterior variance of the positions, rotation, history, versions."""
CELLS: Final = "X_sivae"
"""`obsm`: posterior mean of the cell embedding z, cells x latent."""
GENES: Final = "X_sivae"
"""`varm`: posterior mean of the gene embedding v (the loadings), genes x latent."""
GENES_VAR: Final = "X_sivae_var"
"""`varm`: variance of the loadings over samples of cells (not that of the variational posterior), genes x latent."""
JOINT: Final = "X_sivae_joint"
"""`varm`: joint layer w of the feature tower, genes x width."""
SPLIT: Final = "sivae_split"
"""`obs`: "train", "validation", "unseen", or "unknown" from a model loaded without its training AnnData."""
R2: Final = "sivae_r2"
"""`var`: share of a gene's variance explained on validation cells."""
NOISE: Final = "sivae_noise"
"""`var`: sigma_g (Normal) or inverse dispersion theta_g (negative binomial), at the training cells' average where the
noise depends on batch or cell; NaN for likelihoods without a noise parameter."""
NOISE_VARIANCE: Final = "sivae_noise_variance"
"""`var`: variance of the noise on the scale of the loadings: sigma_g^2, or (1/mu + 1/theta) / s_g^2 for counts."""
ENCODER: Final = "X_sivae_encoder"
"""`varm`: mean derivative of z by the gene's standardised value, genes x latent; 0 for genes never trained on."""
DISTANCES: Final = "sivae_distances"
"""`varp`: CSR, distance of each gene to its neighbors; zeros are stored."""
CONNECTIVITIES: Final = "sivae_connectivities"
"""`varp`: CSR, symmetric weights (0 to 1) of the graph of genes."""
HUB_SCORE: Final = "sivae_hub_score"
"""`var`: centrality of a gene."""
CONNECTED_Q: Final = "sivae_connected_qvalue"
"""`var`: false discovery rate of the evidence that a gene follows anything."""
CONNECTED: Final = "sivae_connected"
"""`var`: True where that is at most the rate asked for."""
HUB: Final = "sivae_hub"
"""`var`: True for connected genes among the most central."""
MODULE: Final = "sivae_module"
"""`var`: module of a gene; "unassigned" is a value."""
MODULE_STABILITY: Final = "sivae_module_stability"
"""`var`: how often a gene falls with its module in resampled graphs, 0 to 1."""
MODULE_SCORES: Final = "X_sivae_modules"
"""`obsm`: score of each module in each cell, cells x modules."""
GENE_SET_SCORES: Final = "X_sivae_gene_sets"
"""`obsm`: score of each of your own gene sets in each cell, cells x sets."""
FROM_LOADINGS: Final = {
    "varp": (DISTANCES, CONNECTIVITIES),
    "var": (HUB_SCORE, CONNECTED_Q, CONNECTED, HUB, MODULE, MODULE_STABILITY),
    "obsm": (MODULE_SCORES, GENE_SET_SCORES),
}
"""What tools made of the loadings, by where it is; of no account once another model has annotated."""
INFLATION: Final = "sivae_zero_inflation"
"""`var`: pi_g of the zero-inflated negative binomial; written for that likelihood alone."""
SCALE: Final = "sivae_scale"
"""`var`: s_g, from the standardised scale of v to the scale of the linear predictor."""
BIAS: Final = "sivae_bias"
"""`var`: bias_g of the linear predictor."""
MODELLED: Final = "sivae_modelled"
"""`var`: True for genes that the model was trained on."""
CONNECTED_P: Final = "sivae_connected_pvalue"
"""`var`: evidence that a gene follows anything, by permutation on validation cells."""
CONSENSUS: Final = "X_sivae_consensus"
"""`varm`: mean of the gene embeddings of several seeds, turned onto each other, genes x latent; with the suffix `_var`
their variance between seeds."""
STABILITY: Final = "sivae_stability"
"""`var`: agreement of a gene's position between seeds, at most 1."""
COHORT: Final = "sivae_cohort"
"""`uns` of individuals x genes: mode, keys, edges, individuals that failed, versions."""
N_CELLS: Final = "sivae_n_cells"
"""`obs` of individuals: cells of the individual."""
DEPTH: Final = "sivae_depth"
"""`obs` of individuals: mean counts of a cell over the modelled genes."""
COMPOSITION: Final = "sivae_composition"
"""`obsm` of individuals, frame: share of each cell type."""
POSITIONS: Final = "sivae_positions"
"""`obsm` of individuals: position of each gene in common axes, individuals x genes x latent."""
EDGES: Final = "sivae_edges"
"""`obsm` of individuals, CSR of 0 and 1: edges of the individual's gene graph, of the pairs that were kept."""
EDGE_STRENGTH: Final = "sivae_edge_strength"
"""`obsm` of individuals: correlation of the two genes of each of those pairs in the individual."""
MATCHED: Final = "sivae_matched"
"""`obsm` of individuals: connectivity from draws of equally many cells of each, individuals x genes x draws."""
SIMILARITY: Final = "sivae_similarity"
"""`obsp` of individuals: how alike their gene graphs or gene positions are, 1 for equal ones."""
MAP: Final = "X_sivae_map"
"""`obsm` of individuals: map by classical scaling of that similarity, individuals x axes."""
PROJECTION: Final = "projection"
"""Layer of individuals x genes: length of a gene's position along the direction it has in the other individuals."""
EXPLAINED_VARIANCE: Final = "explained_variance"
"""Layer of individuals x genes: share of the gene's variance in the individual's cells that the axes explain."""
NORM: Final = "norm"
"""Layer of individuals x genes: distance of the gene from the origin."""
DEGREE: Final = "degree"
"""Layer of individuals x genes: edges of the gene in the individual's graph."""
STRENGTH: Final = "strength"
"""Layer of individuals x genes: mean absolute implied correlation with the other genes."""
SE_SUFFIX: Final = "_se"
"""A layer's standard error over resampled cells has its name and this."""
MEAN_EXPRESSION: Final = "mean_expression"
"""Layer of individuals x genes: log1p of the mean of counts per 10,000; the mean value where there are no counts."""
DETECTION: Final = "detection"
"""Layer of individuals x genes: share of cells in which the gene is not zero."""

LAYERS: Final = (
    PROJECTION, EXPLAINED_VARIANCE, NORM, DEGREE, STRENGTH, MEAN_EXPRESSION,
    DETECTION,
)  # fmt: skip
NUMBERS: Final = {
    "obs": (N_CELLS, DEPTH),
    "var": (
        R2, NOISE, NOISE_VARIANCE, HUB_SCORE, CONNECTED_P, CONNECTED_Q,
        MODULE_STABILITY, STABILITY, SCALE, BIAS, MODELLED, HUB, CONNECTED,
    ),
    "obsm": (CELLS, POSITIONS, EDGES, EDGE_STRENGTH, MATCHED, MAP),
    "varm": (GENES, GENES_VAR, JOINT, ENCODER, CONSENSUS),
    "layers": (*LAYERS, *(layer + SE_SUFFIX for layer in LAYERS)),
}  # fmt: skip
"""What siVAE writes as numbers."""
RECORDS: Final = (
    "setup", "options", "facts", "rotation", "neighbors", "hubs", "modules", "run", "failed", "similarity", "map",
)  # fmt: skip
"""Parts of the records in `uns` that are records themselves."""
