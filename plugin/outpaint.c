/* plug-in-pentimento-outpaint: a layer's picture goes on beyond its edges, and the canvas grows
 * with it. The work is edit.c's; the worker fills what it does not see, as for inpaint. */
#include "task.h"

#include <glib/gi18n-lib.h>

const PentimentoTask pentimento_outpaint = {
    .procedure = "plug-in-pentimento-outpaint",
    .name = "inpaint",
    .label = N_("E_xtend..."),
    .title = N_("Extend"),
    .blurb = N_("Continue a picture beyond its edges, to suit it and a description"),
    .help = N_("Makes what lies beyond the edges of the layer with a latent diffusion model, on "
               "this computer, so that it goes on from the picture and suits the prompt, which may "
               "be empty. The canvas grows as far as is needed. The result is a new layer directly "
               "above, with the blend as layer mask; the layer itself does not change, and one "
               "Undo takes all of it back. The selection does not count. In an indexed image it "
               "is mapped to the palette; convert the image to RGB first for all colours. Asked "
               "to learn from the picture, it first practises on it. The layer carries the seed "
               "and the settings (parasite pentimento-settings), and until GIMP is closed the "
               "prompts (pentimento-prompts). Returns the layer and the seed."),
    .icon = "gimp-tool-crop",
    .sensitivity = GIMP_PROCEDURE_SENSITIVE_DRAWABLE | GIMP_PROCEDURE_SENSITIVE_DRAWABLES,
    .edits = true,
    .extends = true,
    .run = pentimento_edit_run,
};
