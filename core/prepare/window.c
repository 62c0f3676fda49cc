/* First half of prepare: which part of the picture is worked on, and at which size. Numbers only,
 * so that a plan can ask before anything is allocated. */
#include "prepare/prepare.h"

#include <math.h>

static size_t round_up(size_t n, size_t f)
{
    return (n + f - 1) / f * f;
}

bool ldm_mask_bounds(const LdmTensor *mask, LdmRect *bounds)
{
    size_t H = mask->shape[1], W = mask->shape[2];
    size_t top = H, bottom = 0, left = W, right = 0;
    for (size_t y = 0; y < H; y++) {
        const float *row = (const float *)mask->data + y * W;
        for (size_t x = 0; x < W; x++) {
            if (!(row[x] > 0.0f))
                continue;
            top = MIN(top, y);
            bottom = y + 1;
            left = MIN(left, x);
            right = MAX(right, x + 1);
        }
    }
    if (bottom == 0)
        return false;
    *bounds = (LdmRect){(int)left, (int)top, (int)(right - left), (int)(bottom - top)};
    return true;
}

/* A stretch lo .. hi of one axis of a picture `side` pixels long. */
typedef struct {
    size_t lo, hi;
} Span;

static Span span_align(size_t lo, size_t hi, size_t f, size_t side)
{
    return (Span){lo / f * f, MIN(round_up(hi, f), side)};
}

/* Adds the margin, cut at the picture's edges; then, up to `least` long, more on both sides, the
 * share that one edge refuses going to the other. */
static Span span_widen(Span span, size_t margin, size_t least, size_t f, size_t side)
{
    size_t lo = span.lo > margin ? span.lo - margin : 0;
    size_t hi = MIN(span.hi + margin, side);
    least = MIN(least, side);
    if (hi - lo < least) {
        size_t more = least - (hi - lo);
        lo = lo > more / 2 ? lo - more / 2 : 0;
        lo = lo / f * f;
        hi = MIN(MAX(hi, lo + least), side);
        lo = hi - lo < least ? hi - least : lo;
    }
    return span_align(lo, hi, f, side);
}

static size_t margin_of(const LdmPrepareOptions *o, size_t longest)
{
    size_t wanted = MAX(longest / 2, o->native / 4);
    size_t room = o->max_side > longest ? (o->max_side - longest) / 2 : 0;
    size_t margin = room >= 2 * o->f ? MIN(wanted, room) : MAX(longest / 8, 2 * o->f);
    return margin / o->f * o->f;
}

void ldm_prepare_window(const LdmPrepareOptions *o, size_t width, size_t height,
                        const LdmRect *marked, LdmPrepared *p)
{
    Span x = {0, width}, y = {0, height};
    if (marked != NULL) {
        x = span_align((size_t)marked->x, (size_t)(marked->x + marked->width), o->f, width);
        y = span_align((size_t)marked->y, (size_t)(marked->y + marked->height), o->f, height);
        size_t margin = margin_of(o, MAX(x.hi - x.lo, y.hi - y.lo));
        x = span_widen(x, margin, o->native, o->f, width);
        y = span_widen(y, margin, o->native, o->f, height);
    }
    size_t w = x.hi - x.lo, h = y.hi - y.lo, longest = MAX(w, h);
    p->window = (LdmRect){(int)x.lo, (int)y.lo, (int)w, (int)h};
    p->scale = longest > o->max_side ? (double)o->max_side / (double)longest : 1.0;
    p->inner_w = MAX((size_t)lround((double)w * p->scale), 1);
    p->inner_h = MAX((size_t)lround((double)h * p->scale), 1);
    p->W = round_up(MAX(p->inner_w, o->native / 2), o->f);
    p->H = round_up(MAX(p->inner_h, o->native / 2), o->f);
}

void ldm_prepare_blank(const LdmPrepareOptions *o, size_t width, size_t height, LdmPrepared *p)
{
    p->window = (LdmRect){0, 0, (int)width, (int)height};
    p->scale = 1.0;
    p->inner_w = width;
    p->inner_h = height;
    p->W = round_up(width, o->f);
    p->H = round_up(height, o->f);
}

/* Pixels start .. start + length of the window, in cells. */
static Span span_cells(int start, int length, double cells_per_pixel)
{
    double lo = floor(start * cells_per_pixel), hi = ceil((start + length) * cells_per_pixel);
    return (Span){(size_t)MAX(lo, 0.0), (size_t)MAX(hi, 0.0)};
}

LdmRect ldm_prepare_cells(const LdmPrepareOptions *o, const LdmPrepared *p, const LdmRect *marked,
                          size_t margin, size_t unit)
{
    double ratio = p->scale / (double)o->f;
    size_t w = p->W / o->f, h = p->H / o->f, least = o->native / 2 / o->f;
    Span x = span_cells(marked->x - p->window.x, marked->width, ratio);
    Span y = span_cells(marked->y - p->window.y, marked->height, ratio);
    x = span_widen(x, margin, least, unit, w);
    y = span_widen(y, margin, least, unit, h);
    return (LdmRect){(int)x.lo, (int)y.lo, (int)(x.hi - x.lo), (int)(y.hi - y.lo)};
}
