/* A drawn picture into a file, whole or not at all. */
#pragma once

#include <cairo.h>
#include <gio/gio.h>
#include <stdbool.h>

/* Errors: FILE, MEMORY. */
bool ldm_png_write(cairo_surface_t *surface, const char *path, GError **error);
