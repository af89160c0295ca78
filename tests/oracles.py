"""Slow, obvious versions of what the package computes: NumPy and SciPy alone."""

import numpy as np
from scipy import stats


def normal_nll(eta_cf, x_cf, sigma_f):
    """Negative log likelihood per gene."""
    return np.array([-sum(stats.norm.logpdf(x_cf[:, f], eta_cf[:, f], sigma_f[f])) for f in range(len(sigma_f))])


def nb_nll(eta_cf, y_cf, theta_f, library_c):
    """Negative log likelihood per gene, mean l exp(eta), inverse dispersion theta."""
    mu_cf = library_c[:, None] * np.exp(eta_cf)
    share_cf = theta_f / (theta_f + mu_cf)
    return np.array([-sum(stats.nbinom.logpmf(y_cf[:, f], theta_f[f], share_cf[:, f])) for f in range(len(theta_f))])


def poisson_nll(eta_cf, y_cf, library_c):
    """Summed over everything."""
    return -stats.poisson.logpmf(y_cf, library_c[:, None] * np.exp(eta_cf)).sum()


def entry_nll(name, eta_cf, y_cf, noise, library_c, inflation_f=None):
    """Negative log likelihood of every entry; `noise` (sigma or theta) is of any shape that broadcasts."""
    mean_cf = library_c[:, None] * np.exp(eta_cf)
    if name == "normal":
        return -stats.norm.logpdf(y_cf, eta_cf, noise)
    if name == "poisson":
        return -stats.poisson.logpmf(y_cf, mean_cf)
    if name == "bernoulli":
        return np.where(y_cf > 0, -np.log(-np.expm1(-mean_cf)), mean_cf)
    theta_cf = np.broadcast_to(noise, mean_cf.shape)
    log_nb_cf = stats.nbinom.logpmf(y_cf, theta_cf, theta_cf / (theta_cf + mean_cf))
    if name == "nb":
        return -log_nb_cf
    return -np.log(np.where(y_cf == 0, inflation_f, 0.0) + (1 - inflation_f) * np.exp(log_nb_cf))


def gaussian_kl(mean, sd):
    """KL(N(mean, sd^2) || N(0, 1)), entry by entry, summed over the last axis."""
    return np.sum(-np.log(sd) + (sd**2 + mean**2) / 2 - 1 / 2, axis=-1)


def layers(mlp):
    """Weights and biases of an Mlp, and its norms where there are any."""
    weights = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in mlp.layers]
    norms = [
        (norm.weight.detach().numpy(), norm.bias.detach().numpy()) if hasattr(norm, "weight") else None
        for norm in mlp.norms
    ]
    return weights, norms


def mlp(x_ri, weights, norms):
    """Linear layers with (layer norm and) ReLU between them, none after the last."""
    for (weight, bias), norm in zip(weights[:-1], norms, strict=True):
        x_ri = x_ri @ weight.T + bias
        if norm is not None:
            centred = x_ri - x_ri.mean(axis=1, keepdims=True)
            x_ri = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * norm[0] + norm[1]
        x_ri = np.maximum(x_ri, 0)
    weight, bias = weights[-1]
    return x_ri @ weight.T + bias


def encode(tower, x_rp, covariates_rb=None):
    """Mean and sd of a tower's posterior."""
    seen_rp = x_rp * float(tower.input_scale)
    if covariates_rb is not None:
        seen_rp = np.hstack([seen_rp, covariates_rb])
    out = mlp(seen_rp, *layers(tower.encoder))
    k = tower.n_latent
    mean = x_rp @ tower.skip_pk.detach().numpy()
    if not tower.linear_mean:
        mean = mean + out[:, :k]
    return mean, np.exp(np.clip(tower.log_sd_k.detach().numpy() + out[:, -k:], -7, 1))


def decode(tower, latent_rk, covariates_rb=None):
    """Joint layer of a tower."""
    if covariates_rb is not None:
        latent_rk = np.hstack([latent_rk, covariates_rb])
    return mlp(latent_rk, *layers(tower.decoder))


def without_covariates(module, x_cg, design_cb):
    """(x - design shift) / exp(design log gain), one entry at a time."""
    shift, log_gain = module.shift_bg.numpy(), module.log_gain_bg.numpy()
    result = np.empty_like(x_cg)
    for c in range(len(x_cg)):
        for g in range(x_cg.shape[1]):
            moved = sum(design_cb[c, b] * shift[b, g] for b in range(len(shift)))
            stretched = np.prod([np.exp(design_cb[c, b] * log_gain[b, g]) for b in range(len(shift))])
            result[c, g] = (x_cg[c, g] - moved) / stretched
    return result


def predict(module, z_ck, v_fk, design_cb, genes):
    """Full and linear predictor, one entry at a time."""
    seen_cb = design_cb if module.architecture.decode_covariates else None
    h_cd, w_fd = decode(module.cell_tower, z_ck, seen_cb), decode(module.feature_tower, v_fk)
    bias, offset, scale = (t.detach().numpy() for t in (module.bias_g, module.offset_gb, module.scale_g))
    log_gain = module.log_gain_bg.numpy()
    full, linear = np.empty((len(z_ck), len(genes))), np.empty((len(z_ck), len(genes)))
    for c in range(len(z_ck)):
        for f, g in enumerate(genes):
            start = bias[g] + sum(design_cb[c, b] * offset[g, b] for b in range(design_cb.shape[1]))
            zv, hw = z_ck[c] @ v_fk[f], h_cd[c] @ w_fd[f]
            gain = 1.0 if module.likelihood.counts else np.exp(design_cb[c] @ log_gain[:, g])
            linear[c, f] = start + scale[g] * gain * zv
            full[c, f] = start + scale[g] * gain * (zv + hw if module.residual else hw)
    return full, linear


def principal_axes(x_ng, rank):
    """Eigenvalues of X'X / N and eigenvectors, by the SVD of the whole matrix."""
    _, s, vt = np.linalg.svd(np.asarray(x_ng, float), full_matrices=False)
    return s[:rank] ** 2 / len(x_ng), vt[:rank].T


def permutation_pvalue(observed_n, predicted_n, strata_n, n_draws, rng):
    """Share of permutations within strata with a covariance as large, one column."""

    def centred(values):
        values = values.astype(float).copy()
        for s in np.unique(strata_n):
            values[strata_n == s] -= values[strata_n == s].mean()
        return values

    x, y = centred(observed_n), centred(predicted_n)
    statistic, as_large = x @ y, 0
    for _ in range(n_draws):
        shuffled = x.copy()
        for s in np.unique(strata_n):
            rows = np.flatnonzero(strata_n == s)
            shuffled[rows] = x[rng.permutation(rows)]
        as_large += shuffled @ y >= statistic - 1e-9
    return (1 + as_large) / (1 + n_draws)


def varimax_criterion(loadings_gk):
    """Sum over axes of the variance of squared loadings."""
    return np.var(loadings_gk**2, axis=0).sum()


def shift_within_groups(x_ng, design_nb, group_n):
    """Least squares of least norm on covariates and groups, one gene at a time: the covariates' part."""
    groups = np.array([[float(group == each) for each in np.unique(group_n)] for group in group_n])
    columns = np.hstack([design_nb, groups - groups.mean(axis=0)])
    return np.stack([np.linalg.lstsq(columns, x, rcond=1e-4)[0][: design_nb.shape[1]] for x in x_ng.T], axis=1)


def gain(x_cg, predicted_cg, batch_c, n_batches, prior_sd):
    """Posterior mean of a slope with prior N(1, prior_sd^2), its residual variance that of slope 1, (batches, g)."""
    result = np.ones((n_batches, x_cg.shape[1]))
    for b in np.unique(batch_c):
        for g in range(x_cg.shape[1]):
            x, p = x_cg[batch_c == b, g].astype(float), predicted_cg[batch_c == b, g].astype(float)
            precision = p @ p / np.mean((x - p) ** 2) + 1 / prior_sd**2
            result[b, g] = (x @ p / np.mean((x - p) ** 2) + 1 / prior_sd**2) / precision
    return result
