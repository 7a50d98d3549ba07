#!/usr/bin/env bash
# js-waku's own store client against the built program. Its packages are of other major versions than ours, so they are
# a package of their own.
set -euo pipefail
cd "$(dirname "$0")/../test/interop/js-waku"
npm ci --no-audit --no-fund
npm start --silent
