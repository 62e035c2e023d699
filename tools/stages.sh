# The stages behind the commands of ./dev: build, guests, test, run, fuzz, dist. Sourced, not run.
#
# A stage is timed and named; './dev test' runs them all even when one fails, and adds the results
# up. The numbers come from the machine-readable reports (meson's testlog.json, pytest's XML).

JOBS=${JOBS:-$(nproc)}
stage_times=()
stages_failed=()

# Runs a command as a stage: says its name, notes how long it took and whether it worked. Sets
# stage_ok and always returns 0: called in an '||' list, the shell would ignore errors inside.
stage() {
    local name=$1 begin end
    shift
    say "$name"
    begin=$(date +%s%N)
    set +e
    (set -e; "$@")
    stage_ok=$?
    set -e
    end=$(date +%s%N)
    stage_times+=("$(printf '%8.1f s  %s' "$(((end - begin) / 1000000))e-3" "$name")")
    [ $stage_ok = 0 ] || stages_failed+=("$name")
}

stages_report() {
    say "time of each stage"
    printf '%s\n' "${stage_times[@]}" >&2
    [ ${#stages_failed[@]} = 0 ] || { printf '    failed: %s\n' "${stages_failed[@]}" >&2; }
}

setup_build() {
    setup_packages build
    setup_deps
    setup_uplot
}
setup_test() {
    setup_packages build test guests
    setup_deps
    setup_venv test
    setup_uplot
    setup_carbon
    setup_h2spec
}

# Configures build folder $1 (further arguments go to meson) and compiles it.
build_dir() {
    local dir=$1 deps
    shift
    deps=$(deps_dir)
    if [ ! -e "$dir/build.ninja" ]; then
        meson setup "$dir" "-Ddeps=$deps" "$@" >&2 || die "meson could not configure $dir"
    elif [ "$(cat "$dir/.deps" 2>/dev/null)" != "$deps" ]; then
        meson configure "$dir" "-Ddeps=$deps" >&2
    fi
    echo "$deps" >"$dir/.deps"
    ninja -C "$dir" -j "$JOBS" >&2
}
asan_options="-Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized"
build_asan() {
    # shellcheck disable=SC2086
    build_dir build-asan $asan_options
}

# The options under which sanitizer builds run, everywhere.
sanitizer_env() {
    export ASAN_OPTIONS="abort_on_error=1:detect_stack_use_after_return=0:${ASAN_OPTIONS:-}"
    export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1:${UBSAN_OPTIONS:-}"
}

unit() {
    meson test -C "$1" --no-rebuild --num-processes "$JOBS" --print-errorlogs >&2
}
unit_asan() {
    sanitizer_env
    unit build-asan
}

integration() {
    EBB_BIN=$PWD/$1/ebb EBB_H2SPEC=$(h2spec_dir)/h2spec "$(venv_dir test)/bin/pytest" -q \
        tests/integration tests/sim \
        --junitxml="$1/integration.xml" -p no:cacheprovider "${@:2}" >&2
}
integration_asan() {
    sanitizer_env
    EBB_SANITIZED=1 integration build-asan "$@"
}

stage_tidy() { "$(venv_dir test)/bin/python" tools/tidy.py "$@"; }

stage_guests() {
    setup_packages guests
    setup_deps
    local venv
    for venv in test guests spin3; do
        setup_venv $venv
    done
    EBB_DEPS=$(deps_dir) EBB_VENV_GUESTS=$(venv_dir guests) EBB_VENV_SPIN3=$(venv_dir spin3) \
        locked guests "$(venv_dir test)/bin/python" tools/guests "$@"
}

stage_test() {
    rm -f build/integration.xml build-asan/integration.xml build/tidy.xml \
        build/meson-logs/testlog.json build-asan/meson-logs/testlog.json
    stage "set up" setup_test
    [ $stage_ok = 0 ] && stage "build" build_dir build
    [ $stage_ok = 0 ] || { stages_report; exit 1; }
    stage "unit tests and fuzz corpora" unit build
    stage "tidy" stage_tidy --junitxml build/tidy.xml
    stage "guests" stage_guests
    stage "integration tests" integration build "$@"
    stage "build with sanitizers" build_asan
    if [ $stage_ok = 0 ]; then
        stage "unit tests with sanitizers" unit_asan
        stage "integration tests with sanitizers" integration_asan "$@"
    fi
    stages_report
    "$(venv_dir test)/bin/python" tools/tally.py build/meson-logs/testlog.json build/tidy.xml \
        build/integration.xml build-asan/meson-logs/testlog.json build-asan/integration.xml ||
        exit 1
    [ ${#stages_failed[@]} = 0 ]
}

# Serves examples/hello; further arguments go to 'ebb up'.
stage_run() {
    local line url first began=$SECONDS
    setup_packages build run
    setup_deps
    setup_uplot
    build_dir build
    say "set up and built in $((SECONDS - began)) s"
    trap : INT  # Ctrl-C reaches ebb as well, which drains; we wait for it
    exec {ready_fd}< <(exec build/ebb up -f examples/hello --json "$@")
    local pid=$!
    # shellcheck disable=SC2064
    trap "kill -TERM $pid" TERM
    IFS= read -r line <&"$ready_fd" || { wait "$pid"; exit; }
    url=$(sed -n 's/.*"base_url" *: *"\([^"]*\)".*/\1/p' <<<"$line")
    [ -n "$url" ] || die "ebb said '$line', not where it listens"
    first=$(curl -sS -o /dev/null -w '%{http_code} in %{time_total} s' "$url/") || true
    cat >&2 <<END

  examples/hello is served at  $url/
  first request:               $first

  try    curl -i $url/
         build/ebb inspect examples/hello/app.wasm
         edit examples/hello/hello.c, './dev guests hello', and run this again
  stop   Ctrl-C

END
    while kill -0 "$pid" 2>/dev/null; do
        wait "$pid" || [ $? -gt 128 ] || break
    done
}

# ./dev fuzz [NAME] [SECONDS] [--minimise] [--coverage]: see soak/fuzz.py. What is found stays in
# build-fuzz/, new inputs in build-fuzz/corpus, the account in soak/results/fuzz.json.
stage_fuzz() {
    setup_packages build fuzz
    setup_deps
    if [[ " $* " = *" --coverage "* ]]; then
        build_dir build-coverage -Debb=false -Db_coverage=true -Dbuildtype=debug
    fi
    CC=clang-22 build_dir build-fuzz -Dfuzz=true -Debb=false -Db_lundef=false \
        -Db_sanitize=address,undefined -Dbuildtype=debugoptimized \
        -Dc_args=-fsanitize=fuzzer-no-link
    sanitizer_env
    python3 soak/fuzz.py "$@"
}

stage_bench() {
    setup_packages build bench guests
    [ "${1:-}" != paint ] || setup_packages paint
    setup_deps
    setup_venv test
    setup_uplot
    build_dir build
    stage_guests
    EBB_DEPS=$(deps_dir) "$(venv_dir test)/bin/python" bench/run.py "$@"
}

# ./dev demo [--apps N]: see bench/demo.py.
stage_demo() {
    setup_packages build guests
    setup_deps
    setup_venv test
    setup_uplot
    build_dir build
    stage_guests hello rust-hello-wasi js-hello python-hello
    "$(venv_dir test)/bin/python" bench/demo.py "$@"
}

# ./dev mutate [ROOM...]: small changes to the code, one at a time; do the tests see them?
stage_mutate() {
    setup_test
    stage_guests
    sanitizer_env
    EBB_DEPS=$(deps_dir) EBB_ASAN=$asan_options EBB_H2SPEC=$(h2spec_dir)/h2spec \
        "$(venv_dir test)/bin/python" tools/mutate.py "$@"
}

stage_soak() {
    setup_test
    build_dir build
    stage_guests
    "$(venv_dir test)/bin/python" soak/run.py "$@"
}

# A tarball with bin/ebb and, in lib/, each shared library that is not part of the C library.
stage_dist() {
    local name lib
    setup_packages build dist
    setup_deps
    setup_uplot
    setup_carbon
    build_dir build
    name=ebb-$(build/ebb --version | grep -o '[0-9][0-9.]*' | head -n 1)-linux-x86_64
    rm -rf build/dist
    mkdir -p "build/dist/$name/bin" "build/dist/$name/lib" "build/dist/$name/examples"
    cp build/ebb "build/dist/$name/bin/ebb"
    cp -r examples/hello "build/dist/$name/examples/"
    rm -rf "build/dist/$name/examples/hello/.spin"
    cp -r build/carbon "build/dist/$name/"
    cp README.md LICENSE tools/ebb.service "build/dist/$name/"
    cp "$(uplot_dir)/LICENSE" "build/dist/$name/LICENSE.uPlot"
    ldd build/ebb | awk '$3 ~ /^\// {print $3}' |
        grep -v -E '/(libc|libm|libdl|librt|libpthread|libresolv)\.so\.[0-9]+$' |
        while read -r lib; do
            cp -L "$lib" "build/dist/$name/lib/"
            patchelf --set-rpath "\$ORIGIN" "build/dist/$name/lib/$(basename "$lib")"
        done
    patchelf --set-rpath "\$ORIGIN/../lib" "build/dist/$name/bin/ebb"
    tar -C build/dist -czf "build/dist/$name.tar.gz" "$name"
    say "build/dist/$name.tar.gz"
}
