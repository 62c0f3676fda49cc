/* What a convolution sees of its picture at a time, a few rows and columns, moving to the right:
 * the pixels themselves, or, where they are read through a norm (LdmConv.normed), copies made as
 * the window comes to them, so that what the norm makes is in no memory but the nearest cache. */
#pragma once

#include "kernels/conv.h"

typedef struct {
    const LdmConv *c;
    size_t rows, columns; /* that are seen */
    size_t pitch;         /* floats of a copy */
    float *copies;        /* [rows][columns][pitch], a picture's column x at x % columns */
    const float *beyond;  /* a pixel outside the picture: zeros */
    size_t image, top, left;
    bool placed;
} LdmWindow;

/* Floats that the copies need; 0 where none are made. */
static inline size_t ldm_window_floats(const LdmConv *c, size_t rows, size_t columns, size_t pitch)
{
    return c->normed ? rows * columns * pitch : 0;
}

/* Where column j of the window lies among the copies. Coordinates may be -1, which is huge. */
static inline float *ldm_window_copy(const LdmWindow *w, size_t i, size_t j)
{
    size_t column = (w->left + w->columns + j) % w->columns;
    return w->copies + (i * w->columns + column) * w->pitch;
}

static inline const float *ldm_window_source(const LdmWindow *w, size_t i, size_t j)
{
    const LdmConv *c = w->c;
    return ldm_conv_pixel(c->x + w->image * c->H * c->W * c->Cin, c->H, c->W, c->Cin, w->top + i,
                          w->left + j, w->beyond);
}

/* Row i, column j of what is seen. */
static inline const float *ldm_window_pixel(const LdmWindow *w, size_t i, size_t j)
{
    const float *source = ldm_window_source(w, i, j);
    return !w->c->normed || source == w->beyond ? source : ldm_window_copy(w, i, j);
}

/* To the pixel (top, left) of an image; copies what comes into sight. */
static inline void ldm_window_move(LdmWindow *w, size_t image, size_t top, size_t left)
{
    const LdmConv *c = w->c;
    bool on = w->placed && image == w->image && top == w->top && left - w->left < w->columns;
    size_t seen = on ? w->columns - (left - w->left) : 0;
    w->image = image;
    w->top = top;
    w->left = left;
    w->placed = true;
    if (!c->normed)
        return;
    const LdmLanes *lanes = ldm_lanes();
    const float *factor = c->affine + image * 2 * c->Cin, *shift = factor + c->Cin;
    for (size_t i = 0; i < w->rows; i++)
        for (size_t j = seen; j < w->columns; j++) {
            const float *source = ldm_window_source(w, i, j);
            if (source != w->beyond)
                lanes->channel_affine(source, 0, ldm_window_copy(w, i, j), 0, 1, c->Cin, factor,
                                      shift, true);
        }
}
