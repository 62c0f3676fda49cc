"""Triangles -> pictures from any side: a small rasteriser on NumPy arrays. A graphics library's would be faster, but its pixels
follow the machine's driver, and the data set's are to be the same everywhere. Axes: y points up, the front to +z."""
from dataclasses import dataclass

import numpy

ROOM = 3.2  # from the middle of the model to the eye, in radii of its sphere
FOCUS = 2.9  # of the picture's half side: the sphere fills it
AMBIENT, LIGHTS = 0.45, [((-0.5, 0.7, 0.6), 0.5), ((0.8, 0.2, 0.5), 0.22)]  # (direction in the eye's axes, strength)
SEE_THROUGH = 0.95  # materials below this opacity are laid over the others
LARGEST = 64  # side of the squares into which large triangles are cut for testing
FRAGMENTS = 1 << 21  # tested at once


@dataclass
class Part:
    """Triangles of one material. All arrays are of floats; normals need not be of length 1."""
    points: numpy.ndarray  # [n, 3 corners, 3]
    normals: numpy.ndarray  # as points
    colour: numpy.ndarray  # red, green, blue in 0..1
    opacity: float = 1.0
    texture: numpy.ndarray | None = None  # [height, width, 3] in 0..1, instead of the colour
    uv: numpy.ndarray | None = None  # [n, 3, 2], v upwards, repeating beyond 0..1

    def colours(self, triangle, weights):
        """Of fragments: their triangles and weights of the corners."""
        if self.texture is None:
            return numpy.broadcast_to(self.colour, (len(triangle), 3))
        at = numpy.nan_to_num(numpy.einsum("nk,nkc->nc", weights, self.uv[triangle])) % 1
        height, width = self.texture.shape[:2]
        x, y = (at[:, 0] * width).astype(int) % width, ((1 - at[:, 1]) * height).astype(int) % height
        return self.texture[y, x]


def turn(azimuth, elevation):
    """The matrix from the model's axes to the eye's, for an eye at these degrees to the right of and above the front."""
    a, e = numpy.deg2rad([azimuth, elevation])
    about_y = numpy.array([[numpy.cos(a), 0, -numpy.sin(a)], [0, 1, 0], [numpy.sin(a), 0, numpy.cos(a)]])
    about_x = numpy.array([[1, 0, 0], [0, numpy.cos(e), -numpy.sin(e)], [0, numpy.sin(e), numpy.cos(e)]])
    return about_x @ about_y


def project(points, side):
    """Corners in the eye's axes -> pixels x, y (down) and 1/distance, which is linear over the picture."""
    near = 1 / (ROOM - points[..., 2])
    scale = FOCUS * side / 2 * near
    return side / 2 + points[..., 0] * scale, side / 2 - points[..., 1] * scale, near


def squares(x, y, side):
    """(triangle, left, top, size) of squares of pixels that together cover the triangles' boxes."""
    low = [numpy.clip(numpy.ceil(v.min(axis=1) - 0.5), 0, side).astype(int) for v in (x, y)]
    high = [numpy.clip(numpy.floor(v.max(axis=1) - 0.5), -1, side - 1).astype(int) for v in (x, y)]
    wide = numpy.maximum(high[0] - low[0], high[1] - low[1]) + 1
    some = (high[0] >= low[0]) & (high[1] >= low[1])
    size = 1
    while size <= LARGEST:
        chosen = numpy.flatnonzero(some & (wide <= size) & (wide > size // 2) if size < LARGEST else some & (wide > size // 2))
        cuts = -(-wide[chosen] // size)
        for row in range(cuts.max(initial=0)):
            for column in range(cuts.max(initial=0)):
                these = chosen[(cuts > row) & (cuts > column)]
                left, top = low[0][these] + column * size, low[1][these] + row * size
                inside = (left <= high[0][these]) & (top <= high[1][these])
                yield these[inside], left[inside], top[inside], size
        size *= 2


def fragments(x, y, side):
    """(triangle, pixel, weights of its corners) of all pixels whose middle lies in a triangle; piece by piece."""
    for triangle, left, top, size in squares(x, y, side):
        step = max(1, FRAGMENTS // size**2)
        for start in range(0, len(triangle), step):
            t = triangle[start:start + step]
            px = left[start:start + step, None, None] + numpy.arange(size) + 0.5
            py = top[start:start + step, None, None] + numpy.arange(size)[:, None] + 0.5
            px, py = numpy.broadcast_arrays(px, py)
            weights = [edge(x[t], y[t], k, px, py) for k in range(3)]
            area = sum(weights)
            with numpy.errstate(divide="ignore", invalid="ignore"):
                weights = [w / area for w in weights]
            inside = (px < side) & (py < side) & numpy.all([w >= 0 for w in weights], axis=0)
            pixel = (py[inside].astype(int) * side + px[inside].astype(int))
            yield numpy.broadcast_to(t[:, None, None], inside.shape)[inside], pixel, numpy.stack([w[inside] for w in weights], 1)


def edge(x, y, k, px, py):
    """Twice the area between the edge opposite to corner k and the pixels."""
    a, b = (k + 1) % 3, (k + 2) % 3
    ax, ay, bx, by = (v[:, i, None, None] for i in (a, b) for v in (x, y))
    return (bx - ax) * (py - ay) - (by - ay) * (px - ax)


def shade(part, normals, triangle, weights, near):
    """Colours of fragments under lights that hang at the eye; surfaces are seen from both sides."""
    own = weights * near[triangle]  # the corners' weights on the triangle itself, not on the picture
    own /= own.sum(axis=1, keepdims=True)
    normal = numpy.einsum("nk,nkc->nc", own, normals[triangle])
    normal /= numpy.maximum(numpy.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    normal[normal[:, 2] < 0] *= -1
    light = AMBIENT + sum(strength * numpy.clip(normal @ (numpy.array(d) / numpy.linalg.norm(d)), 0, 1)
                          for d, strength in LIGHTS)
    return numpy.clip(part.colours(triangle, own) * light[:, None], 0, 1)


def paint(parts, matrix, side, nearest, canvas, alpha):
    """The nearest surface of these parts over what is on the canvas, where nothing nearer is; fills all three arrays."""
    front, colours, opacity = nearest.copy(), canvas.copy(), numpy.zeros(side * side)
    for part in parts:
        x, y, near = project(part.points @ matrix.T, side)
        normals = part.normals @ matrix.T
        for triangle, pixel, weights in fragments(x, y, side):
            depth = (weights * near[triangle]).sum(axis=1)
            numpy.maximum.at(front, pixel, depth)
            seen = (depth >= front[pixel]) & (depth > nearest[pixel])
            triangle, pixel, weights = triangle[seen], pixel[seen], weights[seen]
            colours[pixel] = shade(part, normals, triangle, weights, near)
            opacity[pixel] = part.opacity
    nearest[:] = front
    canvas[:] = canvas + (colours - canvas) * numpy.where(alpha > 0, opacity, opacity > 0)[:, None]
    alpha[:] = alpha + (1 - alpha) * opacity


def render(parts, azimuth, elevation, side):
    """Parts within the sphere of radius 1 around 0, seen from these degrees to the right of and above the front. Returns
    [side, side, 4] in 0..1: straight colours and how much of the ground they hide."""
    matrix = turn(azimuth, elevation)
    nearest, canvas, alpha = numpy.zeros(side * side), numpy.zeros((side * side, 3)), numpy.zeros(side * side)
    for some in ([p for p in parts if p.opacity >= SEE_THROUGH], [p for p in parts if p.opacity < SEE_THROUGH]):
        paint(some, matrix, side, nearest, canvas, alpha)
    return numpy.concatenate([canvas, alpha[:, None]], axis=1).reshape(side, side, 4)
