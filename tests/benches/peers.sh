# Sourced by the benchmarks: the Python packages that they measure beside.

# with_peers VENV MODULE:PACKAGE... sets SEEDSWEEP_PYTHON, unless it is.
with_peers() {
    local venv=$1 peer missing=()
    shift
    [[ -n "${SEEDSWEEP_PYTHON:-}" ]] && return
    [[ -x $venv/bin/python ]] || python3 -m venv "$venv"
    for peer in "$@"; do
        "$venv/bin/python" -c "import ${peer%%:*}" 2>/dev/null || missing+=("${peer##*:}")
    done
    [[ ${#missing[@]} == 0 ]] || "$venv/bin/pip" install --quiet "${missing[@]}"
    export SEEDSWEEP_PYTHON="$PWD/$venv/bin/python"
}
