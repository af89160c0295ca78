"""Work in a child process, which may crash or hang; and stores with a fault."""

import os
import signal
import traceback

import anndata as ad
import numpy as np
from scipy import sparse

from sivae import SiVAE, TrainOptions
from sivae.datasets import planted


def in_child(work, *, seconds=60, before=lambda: None):
    """What `work` returns, or the error that it raises, in words: "value ...", "SetupError ...", "crash ..."."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        signal.alarm(seconds)  # what hangs is a crash
        try:
            before()
            said = f"value {work()}"
        except BaseException as error:
            said = f"{type(error).__name__} {error}\n{''.join(traceback.format_exception(error))}"
        with os.fdopen(into, "wb") as pipe:
            pipe.write(said.encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitpid(child, 0)[1]
    return f"crash {status}" if status else said


def full(n_bytes):
    """No file may grow beyond so many bytes, as on a full disk; for a child alone."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def small(n=80, g=20, layers=False):
    """Some cells, in CSR with sorted indices, no cell empty."""
    adata = planted(n, g, n_factors=2, genes_per_factor=g // 3, seed=1)
    dense = adata.X.toarray()
    dense[:, 3] += 1
    result = ad.AnnData(sparse.csr_matrix(dense), obs=adata.obs[["group"]], var=adata.var[[]])
    if layers:
        result.layers["other"] = result.X.copy()
    return result


def trained(adata, **options):
    """Every number of a short training, as text."""
    SiVAE.setup_anndata(adata)
    model = SiVAE(adata, n_latent=2)
    options = {"max_steps": 3, "checks": 1} | options
    folder = options.pop("checkpoint_dir", None)
    model.train(accelerator="cpu", progress=False, checkpoint_dir=folder, options=TrainOptions(**options))
    tables = [array.tobytes() for array in model._state.to_tables().values()]
    weights = [tensor.numpy().tobytes() for tensor in model._module.state_dict().values()]
    return str(hash(tuple([*tables, *weights, model.get_latent_representation(adata).tobytes()])))


def flip(path, at, n=1):
    """Change bytes from a position on."""
    raw = bytearray(path.read_bytes())
    for place in range(at, min(at + n, len(raw))):
        raw[place] ^= 0xFF
    path.write_bytes(raw)


def planted_fault(group, fault):
    """Write a fault into the open group of a CSR matrix; the row that it is in."""
    indptr = group["indptr"][...]
    row = 33
    at = int(indptr[row]) + 1
    if fault in ("index beyond", "negative index"):
        group["indices"][at] = 20 if fault == "index beyond" else -1
    elif fault == "indptr that falls":
        group["indptr"][row + 1] = indptr[row] - 1
    elif fault == "indptr that ends early":
        group["indptr"][len(indptr) - 1] = indptr[-1] - 1
    else:
        group["data"][at] = {"NaN": np.nan, "infinite": np.inf}[fault]
    return row
