#!/usr/bin/env bash
# Installs a wheel in empty environments outside of the repository, and uses it there.
# Usage: scripts/try_wheel.sh dist/*.whl. PYTHON names the Python; torch is that of constraints.txt.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wheel=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
grep '^torch==' "$root/constraints.txt" > torch.txt

fresh() {
  "$python" -m venv "$1"
  "$1/bin/python" -m pip --disable-pip-version-check --quiet install --requirement torch.txt
  "$1/bin/python" -m pip --disable-pip-version-check --quiet install --constraint torch.txt "$2"
}

echo "The bare wheel: fits a model, and names the extra that holds what is missing."
fresh bare "$wheel"
bare/bin/python "$root/scripts/try_bare.py"
bare/bin/sivae --version
if said=$(bare/bin/sivae demo -o none 2>&1); then echo "sivae demo worked without its extra"; exit 1; fi
case $said in *"sivae-tools["*) echo "$said" ;; *) echo "no extra is named: $said"; exit 1 ;; esac
test ! -e none
rm -rf bare

echo "The wheel with its extra demo: sivae demo, as a user runs it."
fresh demo "$wheel[demo]"
demo/bin/sivae demo -o run
for file in report.html explorer.html adata.h5ad run.json model/config.json tables/modules.csv figures/cells_and_genes.png
do test -s "run/$file" || { echo "run/$file is not there"; exit 1; }; done
grep -q "siVAE report" run/report.html
demo/bin/sivae hubs run --n 3
echo "The wheel works: $(basename "$wheel")"
