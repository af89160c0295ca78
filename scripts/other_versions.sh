#!/usr/bin/env bash
# Makes an environment of the oldest versions that pyproject.toml allows, or of the newest that there are.
# Usage: scripts/other_versions.sh oldest|newest FOLDER [PYTHON]. torch is that of constraints.txt in both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
which=$1
folder=$2
python=${3:-python3}
bounds=$(mktemp)
trap 'rm -f "$bounds"' EXIT
"$python" scripts/oldest.py > "$bounds"
names=$(sed 's/==.*//' "$bounds" | grep -v '^torch$')
grep '^torch==' "$bounds" > "$bounds.torch"
test "$which" = oldest || cp "$bounds.torch" "$bounds"
test -x "$folder/bin/python" || "$python" -m venv "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check --quiet install --constraint "$bounds" "$@"; }
pip --requirement "$bounds.torch"
rm -f "$bounds.torch"
# Wheels alone: an old version without one for this Python is no version that a user gets.
# shellcheck disable=SC2086
if test "$which" = oldest; then
  pip --only-binary :all: $names
else
  pip --only-binary :all: --upgrade --upgrade-strategy eager $names
fi
"$folder/bin/python" -m pip check || echo "pip check: see above"
