"""Damaged and hostile variants of HDF5 files: in their bytes, and in what their objects say.

`mutate(data, others, focus, rng)`, and `mutate_bytes` without `focus`, are for users: bytes of a file in, bytes of
another out, the same for the same state of `rng`. `focus` names the objects that a reader looks up.
"""
import os
import tempfile

import h5py
import numpy as np

LENGTHS = [0, 1, 2, 7, 255, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**64 - 1]
NUMBERS = [0.0, -0.0, 1.0, -1.0, 5e-324, 1e-310, 1e-300, 1e300, 1.7e308, -1.7e308, float("nan"), float("inf"),
           float("-inf")]
DIMS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 2**16, 2**20, 2**22, 2**31, 2**32, 2**40, 2**61]


# ---- bytes ----

def flip(data, others, rng):
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)


def overwrite(data, others, rng):
    start = rng.integers(len(data))
    for i in range(start, min(len(data), start + rng.integers(1, 17))):
        data[i] = rng.choice([0, 1, 0x7f, 0x80, 0xff, rng.integers(256)])


def truncate(data, others, rng):
    del data[rng.integers(len(data)):]


def splice(data, others, rng):
    other = others[rng.integers(len(others))]
    length = int(rng.choice([8, 64, 512, 4096]))
    start, to = rng.integers(len(other)), rng.integers(len(data))
    piece = other[start:start + length]
    data[to:to + len(piece)] = piece


def shift(data, others, rng):
    at, length = rng.integers(len(data)), int(rng.choice([1, 8, 64]))
    if rng.integers(2):
        del data[at:at + length]
    else:
        data[at:at] = bytes(length)


def length_field(data, others, rng):
    """A number that looks like a size or an address, where the format keeps them: on multiples of 4 or 8."""
    size = int(rng.choice([2, 4, 8]))
    words = np.frombuffer(bytes(data[:len(data) // 8 * 8]), f"<u{size}")
    likely = np.nonzero((words > 0) & (words < 2 * len(data)))[0]
    if not len(likely):
        return
    at = int(rng.choice(likely))
    value = int(words[at])
    value = int(rng.choice([value + 1, value - 1, 2 * value, value + 8, -value])) if rng.integers(2) else int(
        LENGTHS[rng.integers(len(LENGTHS))])
    data[at * size:(at + 1) * size] = (value % 2**(8 * size)).to_bytes(size, "little")


def user_block(data, others, rng):
    data[0:0] = bytes(int(rng.choice([512, 1024, 100])))


BYTES = [flip, flip, overwrite, truncate, splice, shift, length_field, length_field, length_field, user_block]


# ---- objects ----

class Picker:
    """Random names of objects: those in focus five times of six, else any of the file."""

    def __init__(self, focus, rng):
        self.focus, self.rng = focus, rng

    def __call__(self, f):
        if self.rng.integers(6):
            return str(self.rng.choice(self.focus))
        found = []
        f.visit(found.append)
        return str(self.rng.choice(sorted(found) or self.focus))


def shape_of(f, name):
    item = f.get(name)
    return item.shape if isinstance(item, h5py.Dataset) and item.shape else (4, 7)


def remove(f, name):
    if f.get(name, getlink=True) is not None:
        del f[name]


def some_type(rng):
    types = ["i1", "u2", ">i4", "u8", "f2", ">f4", "<f8", "c16", "S5", "V9", "?", [("a", "f8"), ("b", "S3")],
             h5py.string_dtype(), h5py.vlen_dtype("f8"), h5py.enum_dtype({"a": 1}, "i4"), h5py.ref_dtype,
             ("f8", (2, 3))]
    return np.dtype(types[rng.integers(len(types))]) if rng.integers(3) else np.dtype("f8")


def some_shape(shape, rng):
    shape = list(shape)
    kind = rng.integers(5)
    if kind == 0:
        shape = [int(rng.choice(DIMS[:11])) for _ in range(rng.integers(0, 6))]
    elif kind == 1:
        shape[rng.integers(len(shape))] += int(rng.choice([-1, 1]))
    elif kind == 2:
        shape[rng.integers(len(shape))] = int(rng.choice(DIMS))
    elif kind == 3:
        shape = [int(rng.choice(DIMS)) for _ in shape]
    return tuple(max(0, n) for n in shape)


def creation_list(shape, rng):
    """Layouts and filters that readers have to expect or to refuse."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    points = int(np.prod([float(n) for n in shape])) if shape else 1
    if shape and min(shape) > 0 and (points > 10**5 or rng.integers(2)):
        large = rng.integers(6) == 0
        plist.set_chunk(tuple(int(rng.integers(1, min(n, 2**14 if large else 8) + 1)) for n in shape))
        for _ in range(rng.integers(3)):
            kind = rng.integers(6)
            if kind == 0:
                plist.set_deflate(int(rng.integers(10)))
            elif kind == 1:
                plist.set_shuffle()
            elif kind == 2:
                plist.set_fletcher32()
            elif kind == 3:
                plist.set_scaleoffset(0, 2)
            else:
                plist.set_filter(int(rng.choice([32000, 305, 7, 4])), h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
    elif shape and rng.integers(6) == 0:
        plist.set_external("outside.bin", 0, h5py.h5f.UNLIMITED)
    elif rng.integers(4) == 0 and points < 1000:
        plist.set_layout(h5py.h5d.COMPACT)
    if rng.integers(4) == 0:
        plist.set_fill_value(np.array(NUMBERS[rng.integers(len(NUMBERS))]))
    return plist


def replace_dataset(f, pick, rng):
    name, dtype = pick(f), some_type(rng)
    shape = some_shape(shape_of(f, name), rng)
    remove(f, name)
    plist = creation_list(shape, rng)
    space = h5py.h5s.create(h5py.h5s.NULL) if rng.integers(12) == 0 else h5py.h5s.create_simple(
        shape, tuple(h5py.h5s.UNLIMITED for _ in shape)
        if shape and plist.get_layout() == h5py.h5d.CHUNKED and rng.integers(2) else None)
    made = h5py.h5d.create(f.id, name.encode(), h5py.h5t.py_create(dtype, logical=True), space, plist)
    points = float(np.prod([float(n) for n in shape]))
    if rng.integers(3) and dtype.kind in "iuf" and points < 10**5 and space.get_simple_extent_type() == h5py.h5s.SIMPLE:
        values = np.abs(rng.standard_normal(shape)).cumsum(0) if shape else np.array(1.0)
        with np.errstate(invalid="ignore", over="ignore"):
            made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(values.astype(dtype)))


def replace_by_link(f, pick, rng):
    name = pick(f)
    kind = rng.integers(8)
    if kind < 6:
        remove(f, name)
    if kind == 0:
        f[name] = h5py.SoftLink("/" + pick(f))
    elif kind == 1:
        f[name] = h5py.SoftLink("/" + name)
    elif kind == 2:
        f[name] = h5py.ExternalLink("/dev/zero" if rng.integers(2) else "outside.h5", "/m")
    elif kind == 3:
        f[name] = f["/"]
    elif kind == 4:
        f.create_group(name)
    elif kind == 5:
        f[name] = np.dtype("f8")
    else:
        other = pick(f)
        if other in f and name in f and other != name:
            f.move(name, "aside")
            f.move(other, name)


def make_virtual(f, pick, rng):
    name = pick(f)
    shape = shape_of(f, name)
    remove(f, name)
    layout = h5py.VirtualLayout(shape, "f8")
    layout[...] = h5py.VirtualSource("." if rng.integers(2) else "outside.h5", str(rng.choice(["m", name])), shape)
    f.create_virtual_dataset(name, layout)


def change_attribute(f, pick, rng):
    item = f if rng.integers(6) == 0 else f.get(pick(f))
    if item is None:
        return
    known = [n for n in sorted(item.attrs.keys()) if n not in ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST")]
    known = known or ["lower"]
    numbers = [n for n in known if n in item.attrs and isinstance(item.attrs[n], (np.float64, np.integer))]
    name = str(rng.choice(numbers if numbers and rng.integers(2) else known))
    kind = rng.integers(9)
    if kind == 0:
        item.attrs.pop(name, None)
        return
    number = NUMBERS[rng.integers(len(NUMBERS))]
    values = [number, np.float32(1.5), np.array([number] * 3), np.int64(rng.integers(-3, 300)), "9.0", "a\x1b[2Jb" * 300,
              np.bytes_(b"\xff\xfe" * 10), h5py.Empty("f8"), np.zeros((2, 0)), np.array((1, 2.0), [("a", "i4"), ("b", "f8")]),
              np.array(["x", "y"], dtype=h5py.string_dtype())]
    value = values[rng.integers(len(values))] if kind < 4 else number
    if kind > 3 and isinstance(item.attrs.get(name), np.integer):
        value = np.int64(rng.integers(-2, 12) if rng.integers(2) else LENGTHS[rng.integers(len(LENGTHS) - 2)])
    item.attrs.create(name, value)


def change_values(f, pick, rng):
    item = f.get(pick(f))
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iuf" or not item.size or item.size > 10**6:
        return
    if item.is_virtual:  # of itself, perhaps: reading it would not end
        return
    values = item[...].ravel()
    number = NUMBERS[rng.integers(len(NUMBERS))]
    with np.errstate(invalid="ignore", over="ignore"):
        kind = rng.integers(4)
        if kind == 0:
            values[rng.integers(values.size)] = np.array(number).astype(values.dtype)
        elif kind == 1:
            values[:] = np.array(number).astype(values.dtype)
        elif kind == 2:
            values = values[::-1]
        else:
            values = (values * np.float64(1e300)).astype(values.dtype)
        item[...] = values.reshape(item.shape)


def grow(f, pick, rng):
    """An extent becomes another one in all datasets in focus that have it: they still fit each other."""
    old, new = int(rng.choice(shape_of(f, pick(f)))), int(DIMS[rng.integers(len(DIMS))])
    for name in pick.focus:
        shape, item = shape_of(f, name), f.get(name)
        if not isinstance(item, h5py.Dataset) or old not in shape:
            continue
        attributes = {k: v for k, v in item.attrs.items() if isinstance(v, (float, str, bytes))}
        remove(f, name)
        made = f.create_dataset(name, tuple(new if n == old else n for n in shape), "f8", chunks=tuple(1 for _ in shape))
        for key, value in attributes.items():
            made.attrs[key] = value
        if made.size < 10**5:
            made[...] = np.abs(rng.standard_normal(made.shape)).cumsum(0)


def delete(f, pick, rng):
    remove(f, pick(f))


OBJECTS = [replace_dataset, replace_dataset, replace_dataset, replace_by_link, make_virtual, change_attribute,
           change_attribute, change_attribute, change_values, change_values, grow, grow, delete]


def of_objects(data, focus, rng):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file.h5")
        with open(path, "wb") as f:
            f.write(data)
        with h5py.File(path, "r+", libver="latest" if rng.integers(4) == 0 else "earliest") as f:
            for _ in range(rng.integers(1, 4)):
                try:
                    OBJECTS[rng.integers(len(OBJECTS))](f, Picker(focus, rng), rng)
                except (ValueError, KeyError, OSError, RuntimeError, TypeError):
                    pass  # h5py refuses some combinations; the file then has what was done before
        with open(path, "rb") as f:
            return bytearray(f.read())


def mutate_bytes(data, others, rng):
    changed = bytearray(data)
    while changed == data:
        for _ in range(rng.integers(1, 4)):
            if changed:
                BYTES[rng.integers(len(BYTES))](changed, others, rng)
    return bytes(changed)


def mutate(data, others, focus, rng):
    """Half of the variants change objects, half bytes, some of them both."""
    kind = rng.integers(8)
    if kind < 4:
        data = bytes(of_objects(data, focus, rng))
    return mutate_bytes(data, others, rng) if kind > 2 else data
