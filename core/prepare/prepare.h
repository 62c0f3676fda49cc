/* prepare: the first stage. Picture and mask in, work window out (LdmPrepared). */
#pragma once

#include "pipeline/types.h"

/* What the window must fit, all in pixels. */
typedef struct {
    size_t f;        /* picture pixels per latent cell */
    size_t native;   /* side the model was trained at */
    size_t max_side; /* longest side worked on at scale 1 */
} LdmPrepareOptions;

/* The smallest rectangle that holds every pixel with s > 0 of mask [1, H, W, 1]; false where there
 * is none. NaN counts as 0. */
bool ldm_mask_bounds(const LdmTensor *mask, LdmRect *bounds);

/* Fills the geometry (window, scale, H, W, inner_h, inner_w) and nothing else.
 *
 * marked == NULL: the window is the whole picture. Else it is `marked` widened to the f-grid of the
 * picture, plus a margin of context on every side: half of marked's longer side, at least native/4;
 * less, down to 2f, where that keeps the window within max_side; at least native x native, where
 * the picture is that large. A window longer than max_side is reduced to it.
 * Work sizes are rounded up to f and are no smaller than native/2. */
void ldm_prepare_window(const LdmPrepareOptions *options, size_t width, size_t height,
                        const LdmRect *marked, LdmPrepared *prepared);

/* The same for a picture made from nothing: its own size, rounded up to f. */
void ldm_prepare_blank(const LdmPrepareOptions *options, size_t width, size_t height,
                       LdmPrepared *prepared);

/* The marks of a mask (s > 0) in groups that can be worked on apart: bounds of each, in whole
 * cells, such that the window which ldm_prepare_window lays around it holds no mark of another.
 * Returns how many there are; 0 where nothing is marked, or where they are more than `most` or too
 * many to tell. */
size_t ldm_mask_areas(const LdmPrepareOptions *options, const LdmTensor *mask, LdmRect *areas,
                      size_t most);

/* The smallest rectangle that holds both. */
LdmRect ldm_rect_around(const LdmRect *a, const LdmRect *b);

/* The latent cells around `marked` (pixels of the picture) in a window that is laid: at least
 * `margin` of them on every side and native/2 pixels in all, as far as the window goes, widened to
 * multiples of `unit`. */
LdmRect ldm_prepare_cells(const LdmPrepareOptions *options, const LdmPrepared *prepared,
                          const LdmRect *marked, size_t margin, size_t unit);

/* Fills image, mask and cells for a window that ldm_prepare_window laid. picture [1, H, W, 4];
 * mask [1, H, W, 1] or NULL = everything. Errors: MEMORY, CANCELLED. */
bool ldm_prepare(const LdmTensor *picture, const LdmTensor *mask, size_t f, LdmPrepared *prepared,
                 GCancellable *cancellable, GError **error);

/* Bytes that ldm_prepare uses for a while, beyond what it leaves in `prepared`. */
size_t ldm_prepare_scratch(const LdmPrepared *prepared);

/* Fills `masked` for models that see the picture with its hole (mask > 0); all of it is mid-grey
 * where `all` is hole (or where there is no picture). Errors: MEMORY, CANCELLED. */
bool ldm_prepare_masked(LdmHole hole, bool all, LdmPrepared *prepared, GCancellable *cancellable,
                        GError **error);

/* Bytes that ldm_prepare_masked uses for a while, beyond what it leaves in `prepared`. */
size_t ldm_prepare_masked_scratch(LdmHole hole, const LdmPrepared *prepared);

/* rgb [H, W, 3] in [-1, 1]: hides what lies where mask [H, W] > 0; mid-grey where that is
 * everything. Errors: MEMORY, CANCELLED. */
bool ldm_hide(LdmHole hole, float *rgb, const float *mask, size_t H, size_t W,
              GCancellable *cancellable, GError **error);

/* ---- the parts, for tests ---- */

/* Window of `picture`, box-averaged to [rows, columns, 3] in 0..1, averaged over the pixels that
 * have a colour (alpha > 0, finite); what has none at all is filled from its neighbourhood, or
 * mid-grey where nothing has. rows <= window.height, columns <= window.width. Errors: MEMORY,
 * CANCELLED. */
LdmTensor *ldm_window_read(const LdmTensor *picture, const LdmRect *window, size_t rows,
                           size_t columns, GCancellable *cancellable, GError **error);

/* rgbw [H, W, 4]: gives every pixel of weight 0 the colour of its neighbourhood (push-pull pyramid,
 * linear between its cells); where no pixel has a weight, all stay. Errors: MEMORY,
 * CANCELLED. */
bool ldm_fill_holes(float *rgbw, size_t H, size_t W, GCancellable *cancellable, GError **error);

/* Bytes that it uses for a while. */
size_t ldm_fill_holes_scratch(size_t H, size_t W);
