#!/usr/bin/env bash
# Makes src/sivae/explorer/vendor/ again. Needs Node and npm; nothing else of this project does.
set -euo pipefail
TWGL=7.0.0
ESBUILD=0.28.2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
vendor=$PWD/src/sivae/explorer/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
tar xzf "$(npm pack --silent "twgl.js@$TWGL")"
npx --yes "esbuild@$ESBUILD" --minify --charset=ascii --legal-comments=inline --log-level=warning \
  "package/dist/${TWGL%%.*}.x/twgl.js" --outfile="$vendor/twgl.min.js"
cp package/LICENSE.md "$vendor/LICENSE"
printf 'twgl.js %s, minified by esbuild %s; MIT licence (see LICENSE)\n' "$TWGL" "$ESBUILD" > "$vendor/VERSION"
