"""Every name that siVAE writes into an AnnData, in one place."""

from __future__ import annotations

from typing import Final

UNS: Final = "sivae"
"""`uns`: set-up record, options, joint covariance, rotation, history, versions."""
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
