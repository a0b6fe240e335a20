"""Facts of compiled kernels that need no GPU: check_sass.py <nvcc> [--list] <object>...
check_sass.py <nvcc> --planted compiles kernels that break each rule and expects to be told.

  registers, no spills   nothing in local memory: no stack, no LDL or STL instruction
  native atomics         no atomic that is a compare-and-swap loop, on a device unordered and slow
  no contraction         compiled with -fmad=false; each + - * of the PTX is rounded by itself (.rn), so
                         that the fused ones are those written as fma

Prints one line per breach and exits 1; with --list a line per kernel. 16: the tools are not there.
"""
import collections
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

SKIP = 16
Kernel = collections.namedtuple("Kernel", "name registers stack shared instructions")

SOUND = "__global__ void Sound(double *x, unsigned *n) { x[0] = x[1] * x[2] + x[3]; atomicAdd(n, n[1]); }\n"
PLANTED = SOUND + """
__global__ void Loop(double *x) {
  __shared__ double s[32];
  s[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&s[0], x[threadIdx.x]);
  __syncthreads();
  x[threadIdx.x] = s[0];
}
__global__ void Local(int *x, int n) {
  int a[64];
  for (int i = 0; i < 64; i++) a[i] = x[i];
  for (int i = 0; i < n; i++) a[a[i] & 63] += i;
  x[0] = a[n & 63];
}
"""


def find_tool(name, nvcc):
    cache = os.environ.get("NASHFLOW_DEPS") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "nashflow")
    places = [os.path.dirname(os.path.realpath(nvcc)), *sorted(glob.glob(os.path.join(cache, "cuda-tools-*", "bin")))]
    for place in places:
        if os.access(os.path.join(place, name), os.X_OK):
            return os.path.join(place, name)
    return shutil.which(name)


class Tools:
    def __init__(self, nvcc):
        self.nvcc = nvcc
        self.cuobjdump, nvdisasm = find_tool("cuobjdump", nvcc), find_tool("nvdisasm", nvcc)
        if not self.cuobjdump or not nvdisasm:
            print("needs cuobjdump and nvdisasm: run jobs/install-deps.sh")
            sys.exit(SKIP)
        self.environment = dict(os.environ, PATH=os.path.dirname(nvdisasm) + os.pathsep + os.environ["PATH"])

    def dump(self, option, path):
        run = subprocess.run([self.cuobjdump, option, path], capture_output=True, text=True, env=self.environment)
        if run.returncode:
            sys.exit(f"cuobjdump {option} {path}: {run.stderr or run.stdout}")
        return run.stdout


def demangle(names):
    if not names or not shutil.which("c++filt"):
        return {name: name for name in names}
    run = subprocess.run(["c++filt", *names], capture_output=True, text=True, check=True)
    return dict(zip(names, run.stdout.splitlines()))


def sass_of(text):
    """Kernel -> its instructions, without predicates and operands."""
    found = {}
    for line in text.splitlines():
        function = re.match(r"\s*Function : (\S+)", line)
        instruction = re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", line)
        if function:
            current = found.setdefault(function.group(1), [])
        elif instruction:
            current.append(instruction.group(1))
    return found


def check(tools, path):
    """The kernels of an object, and what is wrong with them."""
    usage = dict(re.findall(r"Function (\S+):\s*\n\s*(REG:.*)", tools.dump("-res-usage", path)))
    sass = sass_of(tools.dump("--dump-sass", path))
    names, kernels, breaches = demangle(sorted(usage)), [], []
    for function, text in sorted(usage.items()):
        number = {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", text)}
        code, name = sass.get(function, []), names[function]
        kernels.append(Kernel(name, number["REG"], number["STACK"], number["SHARED"], len(code)))
        if not code:
            breaches.append(f"{name}: no instructions found")
        local = sorted({i for i in code if re.match(r"(LDL|STL)\b", i)})
        if number["STACK"] or number["LOCAL"] or local:
            breaches.append(f"{name}: {number['STACK'] + number['LOCAL']} bytes of local memory {' '.join(local)}")
        for i in sorted({i for i in code if re.match(r"ATOM\w*\.(\w+\.)*CAS", i)}):
            breaches.append(f"{name}: an atomic is a compare-and-swap loop: {i}")
    ptx = tools.dump("--dump-ptx", path)
    loose = sorted(set(re.findall(r"\b(?:add|sub|mul|mad)\.(?:ftz\.)?f(?:32|64)\b", ptx)))
    if loose or ("Fatbin ptx code" in ptx and "--fmad false" not in ptx):
        breaches.append(f"operations may be contracted: compiled without -fmad=false {' '.join(loose)}")
    return kernels, [f"{os.path.basename(path)}: {b}" for b in breaches]


def check_planted(tools):
    """Each planted breach is told, and nothing else."""
    wrong = []
    cases = [(SOUND, "false", []), (SOUND, "true", ["may be contracted"]),
             (PLANTED, "false", ["Loop(double*): an atomic is a compare-and-swap loop",
                                 "Local(int*, int): 256 bytes of local memory", "may be contracted"])]
    with tempfile.TemporaryDirectory() as folder:
        for code, fmad, told in cases:
            source, target = os.path.join(folder, "k.cu"), os.path.join(folder, "k.cu.o")
            with open(source, "w", encoding="utf-8") as f:
                f.write(code)
            subprocess.run([tools.nvcc, "-gencode", "arch=compute_90,code=[sm_90,compute_90]", f"-fmad={fmad}",
                            "-c", source, "-o", target], check=True)
            breaches = check(tools, target)[1]
            if len(breaches) != len(told) or not all(t in b for t, b in zip(told, breaches)):
                wrong.append(f"-fmad={fmad}: told {breaches}, planted {told}")
    return wrong


def main(arguments):
    if len(arguments) < 2:
        sys.exit(__doc__)
    tools, listing, found = Tools(arguments[0]), "--list" in arguments, []
    if "--planted" in arguments:
        found = check_planted(tools)
    for path in [a for a in arguments[1:] if a.endswith(".cu.o")]:
        kernels, breaches = check(tools, path)
        found += breaches
        if listing:
            for k in kernels:
                print(f"{k.registers:4d} registers {k.shared:6d} B shared {k.instructions:6d} instructions  {k.name}")
    print("\n".join(found) or "nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
