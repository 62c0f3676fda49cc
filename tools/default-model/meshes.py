"""Wavefront models (.obj with .mtl) of an archive -> parts for views.py. Our own reader: Debian's trimesh loses the texture of
quadrangles without normals, of which these models have many."""
import io
from collections import defaultdict

import numpy
from PIL import Image

from views import Part

GREY = (0.7, 0.7, 0.7)


def read_model(archive, member, rotation):
    """A model, turned by a matrix, moved and scaled into the sphere of radius 1 around 0. Raises ValueError, KeyError,
    IndexError or OSError where it is broken."""
    arrays, faces, library = read_obj(archive.read(member).decode("latin-1"))
    folder = member.rpartition("/")[0]
    materials = read_mtl(archive, folder, library) if library else {}
    parts = [part_of(arrays, corners, materials.get(name, {}), rotation) for name, corners in faces.items()]
    if not parts:
        raise ValueError(f"{member}: no triangles")
    points = numpy.concatenate([part.points.reshape(-1, 3) for part in parts])
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    radius = numpy.sqrt(((points - middle) ** 2).sum(axis=1).max())
    for part in parts:
        part.points = (part.points - middle) / max(radius, 1e-9)
    return parts


def read_obj(text):
    """({"v", "vt", "vn": array}, {material: [n, 3 corners, (v, vt, vn)]}, the library's name); what a corner lacks is -1."""
    lists, faces, material, library = {"v": [], "vt": [], "vn": []}, defaultdict(list), None, None
    for line in text.replace("\\\n", " ").splitlines():
        key, _, rest = line.strip().partition(" ")
        if key in lists:
            lists[key].append([float(x) for x in rest.split()[:2 if key == "vt" else 3]])
        elif key == "f":
            corners = [corner_of(word, lists) for word in rest.split()]
            faces[material] += [(corners[0], b, c) for b, c in zip(corners[1:], corners[2:])]
        elif key == "usemtl":
            material = rest.strip()
        elif key == "mtllib":
            library = rest.strip()
    arrays = {key: numpy.array(values, dtype=float).reshape(-1, 2 if key == "vt" else 3) for key, values in lists.items()}
    return arrays, {name: numpy.array(corners) for name, corners in faces.items() if corners}, library


def corner_of(word, lists):
    """"v/vt/vn", from 1 or, from the end of what is there, from -1."""
    numbers = [int(part) if part else 0 for part in word.split("/")] + [0, 0]
    return tuple(n - 1 if n > 0 else n + len(lists[key]) if n < 0 else -1 for n, key in zip(numbers, ("v", "vt", "vn")))


def read_mtl(archive, folder, library):
    """{material: {"colour", "opacity", "texture"}}"""
    materials, material = {}, {}
    for line in archive.read(f"{folder}/{library}").decode("latin-1").splitlines():
        key, _, rest = line.strip().partition(" ")
        if key == "newmtl":
            material = materials.setdefault(rest.strip(), {})
        elif key == "Kd":
            material["colour"] = numpy.array([float(x) for x in rest.split()[:3]])
        elif key == "d":
            material["opacity"] = float(rest.split()[-1])
        elif key == "map_Kd":
            image = Image.open(io.BytesIO(archive.read(f"{folder}/{rest.strip()}")))
            material["texture"] = numpy.asarray(image.convert("RGB"), dtype=float) / 255
    return materials


def part_of(arrays, corners, material, rotation):
    points = arrays["v"][corners[..., 0]]
    flat = numpy.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])[:, None, :]
    own = corners[..., 2:3]
    normals = numpy.where(own >= 0, arrays["vn"][own[..., 0]] if len(arrays["vn"]) else 0.0, flat)
    texture = material.get("texture") if (corners[..., 1] >= 0).all() else None
    return Part(points @ rotation.T, normals @ rotation.T, material.get("colour", numpy.array(GREY)),
                material.get("opacity", 1.0), texture, None if texture is None else arrays["vt"][corners[..., 1]])
