#!/usr/bin/env bash
# Makes a project from the template, as `cargo generate` would, and runs its tests.
set -euo pipefail
cd "$(dirname "$0")/.."
clone=$PWD target=${CARGO_TARGET_DIR:-$PWD/target}
project=$target/from-template
rm -rf "$project"
mkdir -p "$project"
if command -v cargo-generate >/dev/null; then
    cargo generate --path template --name my-service --destination "$project" --silent \
        --define "ampe_path=$clone/engine"
else
    cp -r template "$project/my-service"
    cd "$project/my-service"
    rm cargo-generate.toml check.sh
    sed -i 's/{% if .*%}path = /path = /; s/{% else %}.*{% endif %}//' Cargo.toml
    grep -rlZ '{{' . | xargs -0 sed -i \
        "s/{{project-name}}/my-service/; s|{{ampe_path}}|$clone/engine|"
fi
cd "$project/my-service"
printf '\n[workspace]\n' >>Cargo.toml # it is no member of the workspace around it
# The versions of dependencies that the clone has.
cp "$clone/Cargo.lock" .
cargo fmt --check
CARGO_TARGET_DIR=$target cargo test
