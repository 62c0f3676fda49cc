/* The window one watches a picture come in: a preview, what is being done, how long it takes. */
#pragma once

#include <gtk/gtk.h>
#include <stdbool.h>

typedef struct PentimentoPictureWindow PentimentoPictureWindow;

/* Its response, besides GTK_RESPONSE_CANCEL and what closing it gives. */
enum { PENTIMENTO_RESPONSE_FINISH = 1 };

/* Shows it; `responded` is a handler of GtkDialog::response. gimp_ui_init was called before. */
PentimentoPictureWindow *pentimento_picture_window_new(const char *title, GCallback responded,
                                                       gpointer data);
void pentimento_picture_window_free(PentimentoPictureWindow *window);

void pentimento_picture_window_progress(PentimentoPictureWindow *window, const char *text,
                                        double fraction);

/* What it is heading for: [height, width, 3] bytes; copied. */
void pentimento_picture_window_preview(PentimentoPictureWindow *window, const guint8 *pixels,
                                       int width, int height);

/* Another picture begins, of which there is nothing to keep yet. */
void pentimento_picture_window_set_fresh(PentimentoPictureWindow *window);

/* From now on it can only be cancelled. */
void pentimento_picture_window_set_ending(PentimentoPictureWindow *window);
