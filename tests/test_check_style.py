"""Each check of check_style.py finds a planted breach and passes a clean tree: test_check_style.py <source directory>"""
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_style  # noqa: E402

# check, file, text, part of the message (None: nothing may be found)
PLANTED = [
    ("format", "solvers/a.c", "int  a ;\n", "solvers/a.c:1"),
    ("format", "solvers/a.c", "int a;\n", None),
    ("layers", "solvers/grid.c", '#include "app/config.h"\n', "nothing of app/"),
    ("layers", "solvers/grid.c", "#include <hdf5.h>\n", "HDF5 belongs"),
    ("layers", "solvers/grid.c", "#include <nccl.h>\n", "NCCL belongs"),
    ("layers", "solvers/grid.c", '#include "solvers/hjb.h"\n', "lies under"),
    ("layers", "solvers/hjb.c", '#include "solvers/particles.h"\n', "do not know each other"),
    ("layers", "solvers/hjb.c", '#include "hjb.h"\n', "not a path from the root"),
    ("layers", "solvers/hjb.c", '#include "solvers/grid.h"\n', None),
    ("layers", "solvers/novelty.c", '#include "solvers/grid.h"\n', "has no layer"),
    ("layers", "solvers/hjb_point.h", '#include "solvers/backend.h"\n', "lies under"),
    ("layers", "solvers/hjb.c", 'int a = printf("a");\n', "prints nothing"),
    ("layers", "gpu/a.cu", "#include <petscsys.h>\n", "a .cu file knows"),
    ("layers", "gpu/backend_cuda.c", '#include "solvers/grid.h"\n', "gpu/ includes only"),
    ("layers", "gpu/backend_cuda.c", '#include "solvers/hjb_point.h"\n', None),
    ("layers", "app/a.c", '#include "tests/mfg_test.h"\n', "nothing of tests/"),
    ("paths", "jobs/a.sh", "cd /" + "home/jane/nashflow\n", "path of one machine"),
    ("paths", "jobs/a.sh", "cd /" + "root/x\n", "path of one machine"),
    ("paths", "README.md", "http://10." + "20.30.40/simple\n", "address of one machine"),
    ("paths", "jobs/a.sh", "/usr/bin/python3 $HOME/work/x 1.2.3\n", None),
    ("words", "app/a.c", "/* TO" + "DO: later */\n", "open end"),
    ("shell", "jobs/a.sh", "#!/usr/bin/env bash\nset -euo pipefail\nif true; then\n", "syntax error"),
    ("shell", "jobs/a.sh", "#!/usr/bin/env bash\necho\n", "no 'set -euo pipefail'"),
    ("shell", "jobs/a.sh", "#!/usr/bin/env bash\nset -euo pipefail\nls | grep -E -qw a\n", "because of a match"),
    ("shell", "jobs/a.sh", "#!/usr/bin/env bash\nset -euo pipefail\ntrue || grep -q a b\n", None),
    ("python", "postprocess/a.py", "def f(:\n", "a.py:1"),
    ("readme", "README.md", "see `solvers/absent.h`\n", "no solvers/absent.h"),
    ("readme", "README.md", "cmake --preset fast\n", "no preset fast"),
    ("readme", "README.md", "`nashflow solve x.yaml`\n", "has no 'solve'"),
    ("readme", "README.md", "[licence](LICENCE)\n", "leads nowhere"),
    ("readme", "README.md", "`solvers/grid.h`, cmake --preset release, `nashflow run x.yaml`\n", None),
]
BASE = {name: "" for name in ("CMakeLists.txt", "app/config.h", "tests/mfg_test.h", "solvers/grid.h", "solvers/hjb.h",
                              "solvers/particles.h", "solvers/backend.h", "solvers/hjb_point.h")}
BASE["CMakePresets.json"] = '{"configurePresets": [{"name": "release"}]}'


def write(root, name, text):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    if name.endswith(".sh"):
        os.chmod(path, 0o755)


def main(source):
    failures = 0
    for check, name, text, message in PLANTED:
        with tempfile.TemporaryDirectory() as root:
            shutil.copy(os.path.join(source, ".clang-format"), root)
            for file, content in {**BASE, name: text}.items():
                write(root, file, content)
            found = check_style.CHECKS[check](root)
            good = any(message in line for line in found) if message else not found
            failures += not good
            print(f"{'ok  ' if good else 'FAIL'} {check:8} {name}: {text.splitlines()[-1]!r} -> {found}")
    return failures


if __name__ == "__main__":
    sys.exit(1 if main(os.path.abspath(sys.argv[1])) else 0)
