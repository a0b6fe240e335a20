"""All datasets of results written by different numbers of ranks are equal, bit for bit."""
import sys

try:
    import h5py
except ImportError as error:
    print("skipped:", error)
    sys.exit(16)


def datasets(path):
    found = {}
    with h5py.File(path, "r") as f:
        f.visititems(lambda n, d: found.update({n: (d.shape, d.dtype, d[()].tobytes())})
                     if isinstance(d, h5py.Dataset) else None)
    return found


for name in ("1d", "2d", "3d", "extreme"):
    first = datasets(f"{sys.argv[1]}/{name}/result.h5")
    assert len(first) > 10
    for other in sys.argv[2:]:
        second = datasets(f"{other}/{name}/result.h5")
        assert first.keys() == second.keys()
        different = [k for k in first if first[k] != second[k]]
        assert not different, (name, other, different)
print("ok")
