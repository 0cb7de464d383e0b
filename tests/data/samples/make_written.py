"""Writes written/: small files as Pillow, nibabel and numpy write them, and what is in them.

    python -m venv venv && venv/bin/pip install numpy pillow nibabel && venv/bin/python make_written.py

IDX has no writer but its description: a big-endian header of two zeros, a type and the sides, then
the numbers (LeCun's page on MNIST). expected.json holds pixels as Pillow decodes them and voxels as
nibabel gives them, scaled. The readers' tests in `common/src/samples/written.rs` compare.
"""

import gzip
import json
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

HERE = Path(__file__).parent / "written"


def place(name):
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def idx(name, code, kind, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    place(name).write_bytes(header + array.astype(f">{kind}").tobytes())


def idx_files():
    """Images of bytes with labels, and a table of each other type."""
    images = (np.arange(6 * 3 * 4) * 7 % 256).reshape(6, 3, 4)
    idx("idx/train-images-idx3-ubyte", 0x08, "u1", images)
    idx("idx/train-labels-idx1-ubyte", 0x08, "u1", np.array([2, 0, 1, 2, 0, 1]))
    table = np.array([[-100, 3], [7, -1], [0, 127], [-128, 5]])
    for name, code, kind in (("int8", 0x09, "i1"), ("int16", 0x0B, "i2"), ("int32", 0x0C, "i4"),
                             ("float32", 0x0D, "f4"), ("float64", 0x0E, "f8")):
        scale = {"int8": 1, "int16": 200, "int32": 70000}.get(name, 0.25)
        idx(f"idx-wide/{name}", code, kind, (table * scale).reshape(4, 1, 2))
    idx("idx-wide/labels", 0x0B, "i2", np.array([1, 0, 1, 0]))
    place("idx-gz/images.gz").write_bytes(gzip.compress(place(
        "idx/train-images-idx3-ubyte").read_bytes(), mtime=0))
    return {"images": images.flatten().tolist(), "table": table.flatten().tolist()}


def picture(shift, gray):
    """Smooth, since what JPEG loses of edges is not what is tested."""
    y, x = np.mgrid[0:16, 0:24]
    plane = lambda c: 127 + 90 * np.sin((x + shift * 3 + c * 5) / 9) * np.cos((y + c) / 7)
    planes = np.stack([plane(c) for c in range(3)], -1).astype(np.uint8)
    return Image.fromarray(planes[..., 0] if gray else planes)


def jpegs():
    kinds = {
        "jpeg/a/full.jpg": dict(quality=95, subsampling=0),
        "jpeg/a/halved.jpg": dict(quality=90, subsampling=2),
        "jpeg/b/progressive.jpeg": dict(quality=90, subsampling=2, progressive=True),
        "jpeg/b/restarts.JPG": dict(quality=95, subsampling=0, restart_marker_blocks=1),
        "jpeg-gray/a/one.jpg": dict(quality=95),
        "jpeg-gray/a/two.jpg": dict(quality=50),
        "jpeg-gray/b/one.jpg": dict(quality=95, progressive=True),
        "jpeg-gray/b/two.jpg": dict(quality=80, restart_marker_rows=1),
    }
    expected = {}
    for shift, (name, how) in enumerate(kinds.items()):
        picture(shift, "gray" in name).save(place(name), **how)
        expected[name] = np.asarray(Image.open(place(name))).flatten().tolist()
    name = "jpeg-cmyk/a/print.jpg"
    picture(0, False).convert("CMYK").save(place(name), quality=95, subsampling=0)
    expected[name] = np.asarray(Image.open(place(name)).convert("RGB")).flatten().tolist()
    Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).save(place("mask.png"))
    return expected


def volumes():
    rng = np.random.default_rng(4)
    affine = np.diag([0.5, 1.5, 2.0, 1.0])
    expected = {}
    for name, dtype, scale in (("p1_a", "<i2", (0.5, -3.0)), ("p2_a", ">f4", None)):
        voxels = rng.integers(-900, 900, (4, 3, 2)).astype(dtype)
        endian = "<" if dtype[0] == "<" else ">"
        image = nib.Nifti1Image(voxels, affine, nib.Nifti1Header(endianness=endian))
        image.set_data_dtype(dtype)
        if scale:
            # The array is what is stored; readers scale it.
            image.header.set_slope_inter(*scale)
        image.header.set_xyzt_units("mm")
        save(image, f"nifti/images/{name}.nii.gz")
        labels = (voxels > 0).astype(np.uint8)
        save(nib.Nifti1Image(labels, affine), f"nifti/labels/{name}.nii.gz")
        read = nib.load(HERE / f"nifti/images/{name}.nii.gz").get_fdata()
        # Slice after slice, row after row.
        expected[name] = read.transpose(2, 1, 0).flatten().tolist()
        expected[f"{name} labels"] = labels.transpose(2, 1, 0).flatten().tolist()
    # Two gzip files behind one another are one (RFC 1952, 2.2).
    plain = gzip.decompress(place("nifti/images/p1_a.nii.gz").read_bytes())
    parts = [gzip.compress(part, mtime=0) for part in (plain[:360], plain[360:])]
    place("nifti-parts/p1_a.nii.gz").write_bytes(b"".join(parts))
    return expected


def save(image, name):
    nib.save(image, place(name))
    # The same bytes on every day: gzip's header has the time.
    plain = gzip.decompress(place(name).read_bytes())
    with open(place(name), "wb") as raw:
        with gzip.GzipFile("volume.nii", "wb", mtime=0, fileobj=raw) as file:
            file.write(plain)


def tokens():
    ids = np.random.default_rng(5).integers(0, 9, (6, 5))
    ids[3, 2] = 11
    target = np.array([0, 1, 0, 1, 1, 0])
    np.savez_compressed(place("tokens.npz"), x=ids, y=target)
    np.save(place("tokens/x.npy"), ids.astype(">u2"))
    np.save(place("tokens/y.npy"), target.astype("i1"))
    return ids.flatten().tolist()


def main():
    expected = {"idx": idx_files(), "jpeg": jpegs(), "nifti": volumes(), "tokens": tokens()}
    place("expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
