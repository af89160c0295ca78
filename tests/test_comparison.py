"""What docs/comparison.md says of methods is what the tables of the package say today."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "comparison.md"
if not PAGE.is_file() or not (ROOT / "bench").is_dir():
    pytest.skip("docs/ and bench/ are not part of this copy", allow_module_level=True)

MEANS = "README.md"
BENCH = "docs/benchmarks.md"
DEFAULTS = "docs/defaults.md"


def section(text, heading):
    return re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


# What the page says, in which of its sections; where it stands, in which section, as which text.
CLAIMS = [
    ("PCA", "sets | .677 | .721", MEANS, None, "labels, 2 axes, mean of 7 data sets | PCA: 0.677 | 0.721 "),
    ("PCA", "the same | .208 | .249", MEANS, None, "explained, 2 axes, mean of 7 data sets | PCA: 0.208 | 0.249 "),
    ("PCA", "| .821, .896 | .813, .883 |", BENCH, "cells", "| PCA | 0.821 | 0.819 |"),
    ("PCA", "| .821, .896 | .813, .883 |", BENCH, "cells", "| PCA | 0.896 | 0.903 |"),
    ("PCA", "| .821, .896 | .813, .883 |", BENCH, "cells", "| siVAE | 0.813 (0.006) | 0.817"),
    ("PCA", "| .821, .896 | .813, .883 |", BENCH, "cells", "| siVAE | 0.883 | 0.909 |"),
    ("PCA", "mean of 5 data sets | .259 | .239 |", MEANS, None, "20 axes, mean of 5 data sets | PCA: 0.259 | 0.239 "),
    ("PCA", "embedding | .192 | .207 |", MEANS, None, "data sets, the gene itself hidden | PCA: 0.192 | 0.207 "),
    ("PCA", "| .045, .258, .079 | .043, .253, .077 |", BENCH, "neighborhoods", "| siVAE | 1.000 | 0.111 | 0.043 |"),
    ("PCA", "| .045, .258, .079 | .043, .253, .077 |", BENCH, "neighborhoods", "| PCA | 0.557 | 0.104 | 0.045 |"),
    ("PCA", "| .045, .258, .079 | .043, .253, .077 |", BENCH, "neighborhoods", "| siVAE | 1.000 | 0.287 | 0.253 |"),
    ("PCA", "| .045, .258, .079 | .043, .253, .077 |", BENCH, "neighborhoods", "| PCA | 0.748 | 0.282 | 0.258 |"),
    ("PCA", "| .045, .258, .079 | .043, .253, .077 |", BENCH, "neighborhoods", "| siVAE | 1.000 | 0.104 | 0.077 |"),
    ("PCA", "| .045, .258, .079 | .043, .253, .077 |", BENCH, "neighborhoods", "| PCA | 0.683 | 0.102 | 0.079 |"),
    *(
        ("PCA", "| .490, .827, .677 | .658, .887, .754 |", BENCH, "hubs", f"| {name} | {value} |")
        for name, values in {"PCA norm": (0.49, 0.827, 0.677), "siVAE strength": (0.658, 0.887, 0.754)}.items()
        for value in (f"{value:.3f}" for value in values)
    ),
    *(
        ("PCA", said, BENCH, "hubs", f"| {name} | {value} |")
        for said, name, values in (
            ("(by length .587, .820, .720)", "siVAE norm", ("0.587", "0.820", "0.720")),
            ("slightly better: .667, .896, .755", "Pearson", ("0.667", "0.896", "0.755")),
        )
        for value in values
    ),
    ("PCA", "| .962 | .942 |", BENCH, "images", "| PCA | 20 | 0.962 |"),
    ("PCA", "| .962 | .942 |", BENCH, "images", "| siVAE | 10 | 0.942 |"),
    ("LDVAE", ".609 against .721", MEANS, None, "labels, 2 axes, mean of 7 data sets | LDVAE: 0.609 | 0.721 "),
    ("LDVAE", ".167 against .249", MEANS, None, "explained, 2 axes, mean of 7 data sets | LDVAE: 0.167 | 0.249 "),
    ("LDVAE", ".783 and .880 against .813 and .883", BENCH, "cells", "| LDVAE | 0.783 | 0.794 |"),
    ("LDVAE", ".783 and .880 against .813 and .883", BENCH, "cells", "| LDVAE | 0.880 | 0.891 |"),
    ("LDVAE", "at .22 and .28", BENCH, "gene_space", "| network | LDVAE | 0.401 | 0.283 | 0.278 |"),
    ("LDVAE", "at .22 and .28", BENCH, "gene_space", "| pbmc700 | LDVAE | 0.901 | 0.399 | 0.220 |"),
    ("LDVAE", "siVAE's at .999", BENCH, "gene_space", "| network | siVAE | 0.999 | 0.932 | 0.999 |"),
    ("LDVAE", "238 s against 15 s", BENCH, "ldvae", "| 237.5 s (169.0 s) | 15.0 s (14.6 s) |"),
    ("scVI", "| .731 | .721 |", MEANS, None, "labels, 2 axes, mean of 7 data sets | scVI: 0.731 | 0.721 "),
    ("scVI", "| .801, .843 | .813, .883 |", BENCH, "cells", "| scVI | 0.801 | 0.797 |"),
    ("scVI", "| .801, .843 | .813, .883 |", BENCH, "cells", "| scVI | 0.843 | 0.879 |"),
    ("scVI", "| .211 | .249 |", MEANS, None, "explained, 2 axes, mean of 7 data sets | scVI: 0.211 | 0.249 "),
    ("scVI", "mixing | .928 | .896 |", DEFAULTS, "Batches", "| scVI | .845 / .807, .928 |"),
    ("scVI", "| .845 / .807 | .867 / .871 |", DEFAULTS, "Batches", "PBMC Normal\n.867 / .871, .896 (k = 10)"),
    ("scVI", "(labels .859 / .857) | .928 | .935 |", DEFAULTS, "Batches", "; .859 / .857, .935 with\n`gamma=0.05`)"),
    ("scVI", "| 58 MB | 585 MB |", BENCH, "growth", "| siVAE | 248 | 585 | 966 |"),
    ("scVI", "| 58 MB | 585 MB |", BENCH, "growth", "| scVI | 52 | 58 |"),
    ("scVI", "| 1,140 s | 61 s |", BENCH, "growth", "| siVAE | 36.6 | 61.2 |"),
    ("scVI", "| 1,140 s | 61 s |", BENCH, "growth", "| scVI | 189.3 | 1140 |"),
    ("hdWGCNA", "(precision .85 against .65 to .75;", BENCH, "planted_hubs", "| kME, true modules given | 0.85 (0.75)"),
    ("hdWGCNA", ".98 against .77 to .89;", BENCH, "planted_hubs", "| siVAE norm | 0.75 (0.65) | 0.89"),
    ("hdWGCNA", "in every cohort", BENCH, "null_individuals", "| kME-like | 0.622 | 0.548 | 1.000 |"),
    ("hdWGCNA", "5.5 %", BENCH, "null_individuals", "| siVAE | 0.049 | 0.009 | 0.055 |"),
    ("UMAP", "(.891; VAE .871, siVAE .831)", BENCH, "cells", "| UMAP | 0.891 | 0.792 |"),
    ("UMAP", "(.891; VAE .871, siVAE .831)", BENCH, "cells", "| VAE | 0.871 |"),
    ("UMAP", ".816 against .770", BENCH, "cells", "| UMAP | 0.816 | 0.714 |"),
    ("DRVI", ".769 and .843 against siVAE's .770 and .831", BENCH, "cells", "| DRVI | 0.769 | 0.741 |"),
    ("DRVI", ".769 and .843 against siVAE's .770 and .831", BENCH, "cells", "| DRVI | 0.843 | 0.821 |"),
    ("Dozer", "67.5 % had a call", BENCH, "null_individuals", "| Dozer-like degree | 0.210 | 0.081 | 0.675 |"),
    ("Dozer", "6.5 % by siVAE, and none", BENCH, "null_individuals", "| siVAE | 0.064 | 0.015 | 0.065 |"),
    ("Dozer", "25.5 % and 5.5 %", BENCH, "null_individuals", "| Dozer-like degree | 0.132 | 0.041 | 0.255 |"),
    ("When siVAE is the wrong choice", "5.7 times better", BENCH, "neighborhoods", "| 0.381 | 5.697 |"),
    ("When siVAE is the wrong choice", "PCA 4.3, siVAE 3.0", BENCH, "neighborhoods", "|  | 4.269 | 7.569 |"),
    ("When siVAE is the wrong choice", "PCA 4.3, siVAE 3.0", BENCH, "neighborhoods", "|  | 2.962 | 4.176 |"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "said", "file", "heading", "found"), CLAIMS)
def test_a_number_is_that_of_its_table(where, said, file, heading, found):
    source = (ROOT / file).read_text()
    assert said in section(PAGE.read_text(), where)
    assert found in (source if heading is None else section(source, heading)), f"{file} has changed: mend the page"


def test_nearly_every_share_of_the_page_is_held_to_a_table():
    share = re.compile(r"(?<![\w.])\.\d{2,3}\b")
    held = {number for _, said, *_ in CLAIMS for number in share.findall(said)}
    free = [number for number in share.findall(PAGE.read_text()) if number not in held]
    assert len(free) <= 4, free
