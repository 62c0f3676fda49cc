/* plug-in-pentimento-img2img: a layer, or the selected part of it, made anew from itself and
 * words. The work is edit.c's. */
#include "task.h"

#include <glib/gi18n-lib.h>

const PentimentoTask pentimento_img2img = {
    .procedure = "plug-in-pentimento-img2img",
    .name = "img2img",
    .label = N_("_Reimagine..."),
    .title = N_("Reimagine"),
    .blurb = N_("Change a layer, or the selected part of it, towards a description in words"),
    .help = N_("Encodes the layer, adds noise up to the strength, and denoises it towards the "
               "prompt with a latent diffusion model, on this computer. With a selection only the "
               "selected pixels change; where it is soft they change less. The result is a new "
               "layer directly above, with the blend as layer mask, or replaces the pixels in one "
               "undo step. In an indexed image it is mapped to the palette; convert the image to "
               "RGB first for all colours. The layer carries the seed and the settings (parasite "
               "pentimento-settings), and until GIMP is closed the prompts (pentimento-prompts). "
               "Returns the layer and the seed."),
    .icon = "gimp-tool-warp",
    .sensitivity = GIMP_PROCEDURE_SENSITIVE_DRAWABLE | GIMP_PROCEDURE_SENSITIVE_DRAWABLES,
    .edits = true,
    .strength = 0.6,
    .run = pentimento_edit_run,
};
