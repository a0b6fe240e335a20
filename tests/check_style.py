"""House rules that a machine can check: check_style.py <source directory> <check>

Prints one line per breach, `file:line: what`, and exits 1; 16 means that the check cannot be done here.
"""
import ast
import os
import re
import shutil
import subprocess
import sys

SKIP = 16
FORMAT_VERSION = 14

# A file of solvers/ may include those of lower layers and its own header.
LAYERS = [
    ("model", "random", "stencil", "log_event", "memory", "level_chunk", "recording", "state", "deliver"),
    ("point",),
    ("backend", "exchange"),
    ("grid", "tridiagonal", "agents", "scheme"),
    ("vectors",),
    ("residents", "star"),
    ("multigrid",),
    ("linear_step",),
    ("hjb", "particles", "kde", "fp_grid", "coupling", "agent_drift", "sweep_layout",
     "smoothing"),
    ("equilibrium", "anderson", "linearised", "exploitability", "diagnostics", "hints"),
    ("continuation", "decomposition"),
]
STRANGERS = [{"hjb", "particles"}, {"hjb", "kde"}, {"hjb", "fp_grid"}]  # of one layer, joined only above it
GPU_MAY_INCLUDE = r"solvers/(model|random|stencil|\w+_point|backend|backend_jobs|exchange|memory)\.h$"


def tracked(root):
    """All files of the checkout, or of the unpacked release where git does not answer."""
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                             capture_output=True, text=True, check=True).stdout
        names = out.splitlines()
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, folders, files in os.walk(root):
            folders[:] = [f for f in folders if not re.match(r"build|results$|__pycache__$|\.git$|\.cache$", f)]
            names += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return sorted(n for n in names if os.path.isfile(os.path.join(root, n)))


def of_type(root, *suffixes):
    return [n for n in tracked(root) if n.endswith(suffixes)]


def lines(root, name):
    with open(os.path.join(root, name), encoding="utf-8", errors="replace") as f:
        return list(enumerate(f.read().splitlines(), 1))


def shell_scripts(root):
    return [n for n in tracked(root)
            if n.endswith((".sh", ".sbatch")) or re.match(r"#!.*\b(ba)?sh\b", (lines(root, n) or [(1, "")])[0][1])]


def check_format(root):
    """clang-format agrees with every source; its output differs between versions."""
    program = shutil.which(f"clang-format-{FORMAT_VERSION}") or shutil.which("clang-format")
    version = program and subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    if not program or f"version {FORMAT_VERSION}." not in version:
        print(f"needs clang-format {FORMAT_VERSION}, found: {version or 'none'}")
        sys.exit(SKIP)
    sources = [os.path.join(root, n) for n in of_type(root, ".c", ".h", ".cu", ".cpp")]
    run = subprocess.run([program, "--dry-run", "--style=file", *sources], capture_output=True, text=True)
    return [line.replace(root + "/", "") for line in run.stderr.splitlines() if "-Wclang-format" in line]


def layer(path):
    """(number, member) of a header or source of solvers/, or None."""
    stem = os.path.basename(path).rsplit(".", 1)[0]
    if stem.endswith("_point"):
        return 1, stem
    for number, members in enumerate(LAYERS):
        for member in members:
            if stem == member or stem.startswith(member + "_"):
                return number, member
    return None


def check_include(root, name, included):
    """What is wrong with `name` including `included`, or None."""
    top = name.split("/")[0]
    if re.match(r"(hdf5|H5\w*)\.h$", included) and top not in ("app", "tests"):
        return "HDF5 belongs to app/"
    if included == "nccl.h" and name != "gpu/exchange_nccl.c" and not name.startswith("tests/gpu_on_host/"):
        return "NCCL belongs to gpu/exchange_nccl.c"
    if name.endswith(".cu") and re.match(r"(petsc|mpi|hdf5)", included):
        return "a .cu file knows neither PETSc, MPI nor HDF5"
    target = included.split("/")[0]
    if top == "solvers" and target in ("app", "gpu", "tests"):
        return f"solvers/ includes nothing of {target}/"
    if top == "gpu" and target == "solvers" and not re.match(GPU_MAY_INCLUDE, included):
        return "gpu/ includes only the point headers and the two interfaces of solvers/"
    if top in ("app", "gpu") and target == "tests":
        return f"{top}/ includes nothing of tests/"
    if top == "solvers" and target == "solvers":
        mine, theirs = layer(name), layer(included)
        if mine is None or theirs is None:
            return f"{name if mine is None else included} has no layer: add it to LAYERS in tests/check_style.py"
        if theirs[0] > mine[0]:
            return f"'{mine[1]}' lies under '{theirs[1]}'"
        if {mine[1], theirs[1]} in STRANGERS:
            return f"'{mine[1]}' and '{theirs[1]}' do not know each other"
    return None


def check_layers(root):
    """Include lines name their layer and point downwards; the library neither prints nor has a main."""
    breaches = []
    generated = "\n".join(line for _, line in lines(root, "CMakeLists.txt"))
    for name in of_type(root, ".c", ".h", ".cu", ".cpp"):
        for number, line in lines(root, name):
            match = re.match(r'\s*#\s*include\s+([<"])([^>"]+)', line)
            if match:
                own = match.group(1) == '"'
                there = os.path.exists(os.path.join(root, match.group(2))) or match.group(2) in generated
                if own and ("/" not in match.group(2) or not there):
                    what = f"\"{match.group(2)}\" is not a path from the root"
                else:
                    what = check_include(root, name, match.group(2))
                if what:
                    breaches.append(f"{name}:{number}: {what}")
            if name.startswith("solvers/") and re.search(
                    r"\b(printf|puts|fprintf|vprintf|vfprintf|PetscPrintf|PetscFPrintf|PetscSynchronizedPrintf)\s*\(|\bint main\s*\(", line):
                breaches.append(f"{name}:{number}: solvers/ has no main and prints nothing")
    return breaches


def search(root, pattern, names, what):
    return [f"{name}:{number}: {what}: {match.group(0)}" for name in names for number, line in lines(root, name)
            for match in [re.search(pattern, line)] if match]


def text_files(root):
    return [n for n in tracked(root) if not n.endswith((".png", ".h5", ".gif", ".mp4", ".pdf"))]


def check_paths(root):
    """No path or address of one machine."""
    # The brackets keep this file from breaking its own rule.
    path = r"(?<![\w.$}{~*>-])/([r]oot|[h]ome/\w+|[w]ork|[U]sers/\w+|[t]mp/\w+)(?=[/\s'\":)]|$)"
    address = r"\b(?!127\.0\.0\.1|0\.0\.0\.0)(\d{1,3}\.){3}\d{1,3}\b(?!\.)"
    return (search(root, path, text_files(root), "a path of one machine")
            + search(root, address, text_files(root), "an address of one machine"))


def check_words(root):
    """No open ends: they belong in an issue."""
    return search(root, r"\b([T]ODO|[F]IXME|[X]XX|[H]ACK)\b", text_files(root), "an open end")


def check_shell(root):
    """Shell scripts parse, are executable and stop at the first error."""
    breaches = []
    for name in shell_scripts(root):
        run = subprocess.run(["bash", "-n", os.path.join(root, name)], capture_output=True, text=True)
        breaches += [line.replace(root + "/", "") for line in run.stderr.splitlines()]
        text = "\n".join(line for _, line in lines(root, name))
        if "bash" in text.split("\n")[0] and not re.search(r"^set -[a-z]*e[a-z]*u?[a-z]*", text, re.M):
            breaches.append(f"{name}:1: no 'set -euo pipefail'")
        if not os.access(os.path.join(root, name), os.X_OK):
            breaches.append(f"{name}:1: not executable")
        if "pipefail" in text:
            # grep -q leaves at the first match; what writes to it can then die of SIGPIPE, and the pipe has failed.
            breaches += search(root, r"(?<!\|)\|\s*grep (-\w+ )*-\w*q\w*", [name], "a pipe that can fail because of a match")
    return breaches


def check_python(root):
    """Python files parse."""
    breaches = []
    for name in of_type(root, ".py"):
        try:
            ast.parse("\n".join(line for _, line in lines(root, name)), name)
        except SyntaxError as error:
            breaches.append(f"{name}:{error.lineno}: {error.msg}")
    return breaches


def check_readme(root):
    """Each file that a document names is there, and each preset and subcommand too."""
    breaches = []
    with open(os.path.join(root, "CMakePresets.json"), encoding="utf-8") as f:
        presets = set(re.findall(r'"name": "(\w+)"', f.read()))
    for name in of_type(root, ".md"):
        for number, line in lines(root, name):
            for path in re.findall(r"(?<![\w/<.-])(?:\./)?((?:app|solvers|gpu|input|jobs|tests|postprocess)/[\w./-]*\w)", line):
                if not os.path.exists(os.path.join(root, path)):
                    breaches.append(f"{name}:{number}: no {path} here")
            for target in re.findall(r"\]\(([^)#:]+)\)", line):
                if not os.path.exists(os.path.join(root, os.path.dirname(name), target)):
                    breaches.append(f"{name}:{number}: the link to {target} leads nowhere")
            for preset in re.findall(r"--preset (\w+)", line):
                if preset not in presets:
                    breaches.append(f"{name}:{number}: no preset {preset}")
            for word in re.findall(r"(?:^    |bin/|build/|`)nashflow ([a-z]+)\b", line):
                if word not in ("run", "verify", "bench", "devices", "help"):
                    breaches.append(f"{name}:{number}: nashflow has no '{word}'")
    return breaches


CHECKS = {name[6:]: function for name, function in list(globals().items()) if re.match(r"check_(?!include$)", name)}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in CHECKS:
        sys.exit(f"usage: check_style.py <source directory> {'|'.join(CHECKS)}")
    found = CHECKS[sys.argv[2]](os.path.abspath(sys.argv[1]))
    print("\n".join(found) or "nothing found")
    sys.exit(1 if found else 0)
